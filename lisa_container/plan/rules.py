"""Rules for the values of a plan. `lisa_container.config.checks` explains what a rule is."""

from __future__ import annotations

import json
import re
import signal as signals
from typing import Any

import jsonpath

from lisa_container.config import checks

PREPARE = "prepare"
"""Name of the result for preparing a plan's container. No step may have this name."""

_PLAN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_STEP_NAME = re.compile(r"[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]{0,98}[^\s\x00-\x1f\x7f])?")
_SHELL = re.compile(r"[A-Za-z0-9/][A-Za-z0-9/._-]*")
_MODE = re.compile(r"0?[0-7]{3,4}")


class _NotGiven:
    def __repr__(self) -> str:
        return "NOT_GIVEN"


NOT_GIVEN = _NotGiven()
"""Sentinel for 'not given', where None is a legal value."""


def string(name: str, value: Any) -> str:
    """Check a string without NUL characters."""
    if not isinstance(value, str):
        raise checks.illegal(name, value, "a string", "put other values in quotes")
    if "\0" in value:
        raise checks.illegal(name, value, "a string without NUL")
    return value


def any_text(name: str, value: Any) -> str | None:
    """Check a text, which may contain NUL characters, or None."""
    if value is not None and not isinstance(value, str):
        raise checks.illegal(name, value, "a string", "put other values in quotes")
    return value


def some_strings(name: str, value: Any) -> tuple[str, ...]:
    """Check one string or a list of strings."""
    if isinstance(value, (list, tuple)):
        return tuple(string(f"{name}[{index}]", item) for index, item in enumerate(value))
    return (string(name, value),)


def patterns(name: str, value: Any) -> tuple[str, ...]:
    """Check one regular expression or a list of them."""
    patterns = some_strings(name, value)
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            legal = f"a Python regular expression ({error})"
            raise checks.illegal(name, pattern, legal) from None
    return patterns


def mode(name: str, value: Any) -> str:
    """Check an octal file mode and return it with four digits."""
    legal = 'an octal mode in quotes, such as "0644"'
    if not isinstance(value, str) or (value and not _MODE.fullmatch(value)):
        raise checks.illegal(name, value, legal)
    return f"{int(value, 8):04o}" if value else ""


def json_path(name: str, value: Any) -> str:
    """Check a JSON path (RFC 9535)."""
    legal = "a JSON path (RFC 9535) that begins with '$', such as '$.items[0].name'"
    if not isinstance(value, str) or not value.startswith("$"):
        raise checks.illegal(name, value, legal)
    try:
        jsonpath.compile(value)
    except jsonpath.JSONPathError as error:
        reason = str(error).splitlines()[0]
        raise checks.illegal(name, value, f"{legal} ({reason})") from None
    return value


def json_value(name: str, value: Any) -> Any:
    """Check a value that JSON can represent, or `NOT_GIVEN`."""
    if value is not NOT_GIVEN:
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            legal = "a JSON value; put a date in quotes"
            raise checks.illegal(name, value, legal) from None
    return value


def count(name: str, value: Any) -> int | None:
    """Check a whole number of at least 0, or None."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise checks.illegal(name, value, "a whole number of at least 0")


def command(name: str, value: Any) -> str | tuple[str, ...]:
    """Check a command: a string for the shell, or a list of words."""
    legal = "a string for the shell, or a list of words, which runs without a shell"
    if value == "" or value == [] or value == ():
        return ""
    if isinstance(value, str):
        if not value.strip() or "\0" in value:
            raise checks.illegal(name, value, legal)
        return value
    if isinstance(value, (list, tuple)):
        words = tuple(string(f"{name}[{index}]", word) for index, word in enumerate(value))
        if not words[0]:
            raise checks.illegal(name, value, legal)
        return words
    raise checks.illegal(name, value, legal)


def words(name: str, value: Any) -> tuple[str, ...]:
    """Check a list of words, or split a string at blanks."""
    if isinstance(value, str):
        return tuple(value.split())
    return checks.strings(name, value, "words, such as [python3, -u]")


def shell(name: str, value: Any) -> str:
    """Check the name or path of a shell."""
    if not isinstance(value, str) or (value and not _SHELL.fullmatch(value)):
        raise checks.illegal(name, value, "a POSIX shell of the image, such as 'bash'")
    return value


def exit_codes(name: str, value: Any) -> tuple[int, ...]:
    """Check one exit code or a list of them."""
    given = value if isinstance(value, (list, tuple)) else (value,)
    legal = "an exit code from 0 to 255, or a list of them"
    for code in given:
        if not isinstance(code, int) or isinstance(code, bool) or not 0 <= code <= 255:
            raise checks.illegal(name, value, legal)
    return tuple(given)


def signal_name(name: str, value: Any) -> str:
    """Check a signal's name or number and return its name, such as `SIGTERM`."""
    if value == "":
        return ""
    names = [each.name for each in signals.Signals]
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return signals.Signals(value).name
        except ValueError:
            pass
    upper = str(value).upper()
    full = upper if upper.startswith("SIG") else f"SIG{upper}"
    if full not in names:
        legal = "a signal's name or number, such as SIGTERM or 15"
        raise checks.illegal(name, value, legal, checks.nearest(full, names))
    return full


def plan_name(name: str, value: Any) -> str:
    """Check a plan's name, which is also the name of a folder."""
    if not isinstance(value, str) or not _PLAN_NAME.fullmatch(value):
        legal = "up to 100 letters, digits, '.', '_' and '-', a letter or digit first"
        raise checks.illegal(name, value, f"{legal} (a folder gets this name)")
    return value


def step_name(name: str, value: Any) -> str:
    """Check a step's name: one line of text."""
    legal = f"one line of up to 100 characters, other than '{PREPARE}'"
    if not isinstance(value, str) or not _STEP_NAME.fullmatch(value) or value == PREPARE:
        raise checks.illegal(name, value, legal)
    return value


def container_path(name: str, value: Any) -> str:
    """Check the absolute path of a file in a container."""
    return checks.absolute_path(name, value, "an absolute path in the container")
