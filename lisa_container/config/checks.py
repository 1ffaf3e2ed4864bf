"""Rules for plain types, the text of a config error, and an immutable mapping.

A rule is a function of a field's name and the given value. It returns the value in its normal form,
or raises `ConfigError`. A value in normal form passes the rule unchanged.
"""

from __future__ import annotations

import difflib
import math
import posixpath
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import PurePath
from typing import Any, Callable, NoReturn, TypeVar

from typing_extensions import Self

from lisa_container.errors import ConfigError, FrozenConfigError

Rule = Callable[[str, Any], Any]

V = TypeVar("V", covariant=True)
E = TypeVar("E", bound=Enum)


def illegal(field: str, given: Any, legal: str, hint: str = "") -> ConfigError:
    """Return a config error that names the field, the given value and the legal values.

    >>> print(illegal("cpus", -1, "a number of at least 0.01"))
    cpus: given -1; legal: a number of at least 0.01
    """
    tail = f" ({hint})" if hint else ""
    return ConfigError(f"{field}: given {given!r}; legal: {legal}{tail}")


def nearest(given: Any, legal: Iterable[str]) -> str:
    """Return a hint that names the most similar legal name, or "" if none is similar."""
    matches = difflib.get_close_matches(str(given), list(legal), n=1)
    return f"did you mean {matches[0]!r}?" if matches else ""


def unknown(where: str, given: Any, legal: Collection[str]) -> ConfigError:
    """Return a config error about a name that is none of the legal ones, the nearest one first.

    >>> print(unknown("unknown field", "imagee", ["image", "user"]))
    unknown field: given 'imagee'; did you mean 'image'? (legal: image, user)
    """
    names, hint = ", ".join(legal), nearest(given, legal)
    if not hint:
        return illegal(where, given, names)
    return ConfigError(f"{where}: given {given!r}; {hint} (legal: {names})")


def check_names(names: Iterable[Any], legal: Collection[str], where: str = "unknown field") -> None:
    """Refuse names that are no field's name.

    Args:
        names: the given names.
        legal: the fields' names.
        where: first words of the error's message.

    Raises:
        ConfigError: a name is not legal; the message begins with the nearest legal one.
    """
    for name in names:
        if name not in legal:
            raise unknown(where, name, legal)


class KnownFields:
    """Base of a dataclass whose constructor refuses unknown fields as `check_names` does."""

    def __new__(cls, *args: Any, **values: Any) -> Self:
        """Check the names of the arguments; Python's own error would not list the legal ones."""
        fields: Mapping[str, Any] = getattr(cls, "__dataclass_fields__", {})
        check_names(values, list(fields), f"{cls.__name__}, unknown field")
        return super().__new__(cls)


def require_encodable(field: str, value: Any, is_json: bool = False) -> None:
    """Refuse halves of characters (surrogates), except bytes as `os.fsdecode` gives them.

    Args:
        field: the field or argument; the message never repeats its value, which may be a secret.
        value: a text, or a mapping or sequence with texts; anything else has none.
        is_json: whether the engine gets the value as JSON, which has no such bytes either.

    Raises:
        ConfigError: there is such a half.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            require_encodable(f"{field}, key", key, is_json)
            require_encodable(f"{field}, value of {key!r}", item, is_json)
    elif isinstance(value, (list, tuple)):
        for item in value:
            require_encodable(field, item, is_json)
    elif isinstance(value, (str, PurePath)):
        try:
            str(value).encode("utf-8", "strict" if is_json else "surrogateescape")
        except UnicodeEncodeError as error:
            half = error.object[error.start]
            what = "half of a character that no program can read; legal: whole characters"
            if not is_json:
                what += ", and bytes as os.fsdecode gives them"
            elif "\udc80" <= half <= "\udcff":
                what = (
                    "a byte outside of UTF-8, which the engine's API cannot carry; legal: whole "
                    "characters. Commands of `run` and their environment may have such bytes"
                )
            raise ConfigError(f"{field}: given a text with {half!r}, {what}") from error


def frozen(field: str, value: str) -> FrozenConfigError:
    """Return the error of an attempt to change a config; it says how to make a changed copy.

    >>> print(frozen("memory", "…"))
    memory: a config cannot be changed. Make a new one: config.merged(memory=…)
    """
    return FrozenConfigError(
        f"{field}: a config cannot be changed. Make a new one: config.merged({field}={value})"
    )


# Methods of a dict or list that change it.
_CHANGING = (
    *("update", "setdefault", "pop", "popitem", "clear"),
    *("append", "extend", "insert", "remove", "sort", "reverse"),
)


class _Frozen:
    """Immutable collection in a field of a config: an attempt to change it says what to do."""

    _field = ""
    # What `merged` gets instead, as the error shows it.
    _whole = ""

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse a method that would change the collection."""
        if name in _CHANGING:
            raise frozen(self._field, self._whole)
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def _refuse(self, *_: object) -> NoReturn:
        raise frozen(self._field, self._whole)

    __delitem__ = __iadd__ = __ior__ = _refuse


class FrozenDict(_Frozen, Mapping[str, V]):
    """Immutable mapping: hashable, and equal to a dict of the same content.

    `types.MappingProxyType` cannot be hashed, deep-copied or pickled.

    Args:
        items: the content.
        field: name of the field of a config, for the error of an attempt to change the mapping.
    """

    _whole = "{…}"

    def __init__(self, items: Mapping[str, V], field: str) -> None:
        """Copy the items."""
        self._items: dict[str, V] = dict(items)
        self._field = field

    def __getitem__(self, key: str) -> V:
        """Return the value of a key."""
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys."""
        return iter(self._items)

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._items)

    def __hash__(self) -> int:
        """Return a hash of the items, as equal mappings have."""
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        """Return the items as a dict shows them."""
        return repr(self._items)

    def __setitem__(self, key: str, value: object) -> NoReturn:
        """Refuse the assignment."""
        raise frozen(self._field, f"{{{key!r}: …}}")


class FrozenList(_Frozen, tuple[Any, ...]):
    """Tuple whose error says what to do instead of changing it."""

    _whole = "[…]"
    __setitem__ = _Frozen._refuse

    def __new__(cls, items: Iterable[Any], field: str = "") -> FrozenList:
        """Copy the items.

        Args:
            items: the content.
            field: name of the field of a config; copies and pickles restore it later.
        """
        made = super().__new__(cls, items)
        made._field = field
        return made


EMPTY: FrozenDict[Any] = FrozenDict({}, "field")


def text(field: str, value: Any, legal: str) -> str:
    """Check for a string. Its content is checked by the caller."""
    if not isinstance(value, str):
        raise illegal(field, value, legal)
    return value


def flag(field: str, value: Any) -> bool:
    """Check for true or false; a word counts, since runbook variables may be words."""
    if isinstance(value, bool):
        return value
    words = {"true": True, "false": False}
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise illegal(field, value, "true or false")


def number(field: str, value: Any, legal: str) -> float:
    """Check for a finite number; digits in a string count."""
    try:
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            result = float(value)
            if math.isfinite(result):
                return result
    except (ValueError, OverflowError):
        pass
    raise illegal(field, value, legal)


def positive_seconds(field: str, value: Any) -> float:
    """Check for a number of seconds above 0."""
    legal = "a number of seconds above 0"
    result = number(field, value, legal)
    if result <= 0:
        raise illegal(field, value, legal)
    return result


def one_of(enum: type[E]) -> Rule:
    """Make a rule for a member of an enum, or for a member's value."""

    def check(field: str, value: Any) -> E:
        try:
            return enum(value)
        except ValueError:
            values = [str(member.value) for member in enum]
            raise illegal(field, value, ", ".join(values), nearest(value, values)) from None

    return check


def absolute_path(field: str, value: Any, legal: str) -> str:
    """Check for an absolute path, on the node or in a container; return its shortest form."""
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise illegal(field, value, legal)
    # POSIX leaves the meaning of exactly two leading slashes open, so normpath keeps them.
    return "/" + posixpath.normpath(value).lstrip("/")


def optional_path(field: str, value: Any) -> str:
    """Check for an absolute path in the container; "" stands for none."""
    if value == "":
        return ""
    return absolute_path(field, value, "an absolute path in the container")


def globs(field: str, value: Any) -> tuple[str, ...]:
    """Check for a list of absolute paths with wildcards."""
    result = strings(field, value, legal := "absolute paths in the container, as /var/log/**/*.log")
    for item in result:
        if not item.startswith("/"):
            raise illegal(field, item, f"a list of {legal}")
    return result


def named(field: str, value: Any, legal: str) -> Mapping[str, Any]:
    """Check for a mapping whose keys are non-empty strings."""
    if not isinstance(value, Mapping):
        raise illegal(field, value, f"a mapping of {legal}")
    for key in value:
        if not isinstance(key, str) or not key or "\0" in key:
            raise illegal(f"{field}, key", key, f"a non-empty string, in a mapping of {legal}")
    return value


def strings(field: str, value: Any, legal: str) -> tuple[str, ...]:
    """Check for a list of non-empty strings. A lone string is refused, not split into letters."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise illegal(field, value, f"a list of {legal}")
    for item in value:
        if not isinstance(item, str) or not item or "\0" in item:
            raise illegal(field, item, f"a list of {legal}")
    return tuple(value)


def words(field: str, value: Any) -> tuple[str, ...]:
    """Check for the words of a command; a string is split as a shell splits it."""
    legal = "words of a command, or a string that is split as a shell splits it"
    if isinstance(value, str):
        try:
            value = shlex.split(value)
        except ValueError as error:
            raise illegal(field, value, f"a list of {legal}", str(error)) from error
    is_list = isinstance(value, Sequence) and not isinstance(value, bytes)
    if not is_list or not all(isinstance(x, str) and "\0" not in x for x in value):
        raise illegal(field, value, f"a list of {legal}")
    if value and not value[0]:
        raise illegal(field, value, "a list that begins with the path or name of a program")
    return tuple(value)


def shell_command(field: str, value: Any) -> str:
    """Check for a command for a shell; "" stands for none."""
    result = text(field, value, legal := "a command for sh, as a string")
    if "\0" in result:
        raise illegal(field, value, legal)
    return result


def texts(field: str, value: Any) -> FrozenDict[str]:
    """Check for a mapping of names to strings; numbers and booleans of YAML become strings.

    A message never repeats a value: an environment often has passwords.
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
    return FrozenDict(result, field)


def environment(field: str, value: Any) -> FrozenDict[str]:
    """Check for a mapping of variables' names to strings; see `texts`."""
    result = texts(field, value)
    for key in result:
        if "=" in key:
            raise illegal(f"{field}, key", key, "a name without '='")
    return result
