"""What all rules share: the wording of an error, the plain types, and a mapping that cannot change.

A rule is a function of the field's name and the value that was given. It returns the value in its
normal form, or raises `ConfigError`. A normal form passes its own rule unchanged.
"""

from __future__ import annotations

import difflib
import math
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Callable, TypeVar

from lisa_container.errors import ConfigError

Rule = Callable[[str, Any], Any]

V = TypeVar("V", covariant=True)
E = TypeVar("E", bound=Enum)


def illegal(field: str, given: Any, legal: str, hint: str = "") -> ConfigError:
    """The one form of a configuration error: the field, what was given, what is legal.

    >>> print(illegal("cpus", -1, "a number of at least 0.01"))
    cpus: given -1; legal: a number of at least 0.01
    """
    tail = f" ({hint})" if hint else ""
    return ConfigError(f"{field}: given {given!r}; legal: {legal}{tail}")


def nearest(given: Any, legal: Iterable[str]) -> str:
    """A hint that names the nearest legal name, or "" when nothing is near."""
    matches = difflib.get_close_matches(str(given), list(legal), n=1)
    return f"did you mean {matches[0]!r}?" if matches else ""


class FrozenDict(Mapping[str, V]):
    """A mapping that cannot change: hashable, equal to a dict of the same content.

    `types.MappingProxyType` would do, if it could be hashed, deep-copied and pickled.
    """

    def __init__(self, items: Mapping[str, V]) -> None:
        self._items: dict[str, V] = dict(items)

    def __getitem__(self, key: str) -> V:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)


EMPTY: FrozenDict[Any] = FrozenDict({})


def text(field: str, value: Any, legal: str) -> str:
    """A string, of which the caller checks the rest. A lone number in YAML is none."""
    if not isinstance(value, str):
        raise illegal(field, value, legal)
    return value


def flag(field: str, value: Any) -> bool:
    """true or false; also as a word, which is what a runbook variable from a command line is."""
    if isinstance(value, bool):
        return value
    words = {"true": True, "false": False}
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise illegal(field, value, "true or false")


def number(field: str, value: Any, legal: str) -> float:
    """A finite number; also as digits in a string."""
    try:
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            result = float(value)
            if math.isfinite(result):
                return result
    except (ValueError, OverflowError):
        pass
    raise illegal(field, value, legal)


def positive_seconds(field: str, value: Any) -> float:
    legal = "a number of seconds above 0"
    result = number(field, value, legal)
    if result <= 0:
        raise illegal(field, value, legal)
    return result


def one_of(enum: type[E]) -> Rule:
    """A member of the enum, or its value."""

    def check(field: str, value: Any) -> E:
        try:
            return enum(value)
        except ValueError:
            values = [str(member.value) for member in enum]
            raise illegal(field, value, ", ".join(values), nearest(value, values)) from None

    return check


def absolute_path(field: str, value: Any, legal: str) -> str:
    """An absolute path in its shortest spelling. It may not be checked on the node from here."""
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise illegal(field, value, legal)
    # POSIX leaves the meaning of exactly two leading slashes open, so normpath keeps them.
    return "/" + posixpath.normpath(value).lstrip("/")


def optional_path(field: str, value: Any) -> str:
    """An absolute path, or "" when none is named."""
    if value == "":
        return ""
    return absolute_path(field, value, "an absolute path in the container")


def globs(field: str, value: Any) -> tuple[str, ...]:
    """Absolute paths with wildcards."""
    result = strings(field, value, legal := "absolute paths in the container, as /var/log/**/*.log")
    for item in result:
        if not item.startswith("/"):
            raise illegal(field, item, f"a list of {legal}")
    return result


def named(field: str, value: Any, legal: str) -> Mapping[str, Any]:
    """A mapping whose keys are non-empty strings."""
    if not isinstance(value, Mapping):
        raise illegal(field, value, f"a mapping of {legal}")
    for key in value:
        if not isinstance(key, str) or not key or "\0" in key:
            raise illegal(f"{field}, key", key, f"a non-empty string, in a mapping of {legal}")
    return value


def strings(field: str, value: Any, legal: str) -> tuple[str, ...]:
    """A list of non-empty strings. A lone string is refused: it would be read as its letters."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise illegal(field, value, f"a list of {legal}")
    for item in value:
        if not isinstance(item, str) or not item or "\0" in item:
            raise illegal(field, item, f"a list of {legal}")
    return tuple(value)


def texts(field: str, value: Any) -> FrozenDict[str]:
    """Names to strings, for environment and labels. YAML's numbers and booleans become strings.

    A message never repeats a value: an environment often holds passwords.
    """
    result: dict[str, str] = {}
    for key, item in named(field, value, "names to strings").items():
        if isinstance(item, bool):
            result[key] = str(item).lower()
        elif isinstance(item, (int, float)):
            result[key] = str(item)
        elif isinstance(item, str) and "\0" not in item:
            result[key] = item
        else:
            given = "a string with a NUL" if isinstance(item, str) else type(item).__name__
            raise ConfigError(
                f"{field}, value of {key!r}: given {given}; "
                'legal: a string, a number or a boolean (an empty value is written "")'
            )
    return FrozenDict(result)


def environment(field: str, value: Any) -> FrozenDict[str]:
    result = texts(field, value)
    for key in result:
        if "=" in key:
            raise illegal(f"{field}, key", key, "a name without '='")
    return result
