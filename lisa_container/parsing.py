"""Parsing of text from outside: from containers, engines, servers and files.

Such text can be anything. Python's `int` raises an error for thousands of digits, and for
characters that `str.isdigit` takes for digits (`²`). The functions here return None instead.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

# Digits of the largest number of 64 bits.
_MOST_DIGITS = 20

# Engines write nanoseconds, which `datetime.fromisoformat` does not read.
_TIME = re.compile(r"([0-9-]+T[0-9:]+)(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})")


def parse_int(text: str, base: int = 10) -> int | None:
    """Return the whole number in a text, or None if it has none or more than 20 digits.

    Args:
        text: the number, perhaps with blanks around it.
        base: base of the number.

    >>> parse_int(" 42 "), parse_int("0755", 8), parse_int("²"), parse_int("9" * 5000)
    (42, 493, None, None)
    """
    digits = text.strip()
    if len(digits) > _MOST_DIGITS or not digits.isascii() or "_" in digits:
        return None
    try:
        return int(digits, base)
    except ValueError:
        return None


def parse_json(text: str, *keys: str) -> Any:
    """Return the value in a JSON text, or None if it is no JSON.

    Args:
        text: the JSON text.
        keys: keys of nested objects; without any, the whole value is returned.

    >>> parse_json('{"a": {"b": [1]}}', "a", "b"), parse_json("[]", "a"), parse_json("{")
    ([1], None, None)
    """
    try:
        value = find_value(json.loads(text, parse_int=parse_int), *keys)
        # Fails for escapes of lone surrogates, which no file and no command line can have.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value


def parse_time(value: Any) -> float | None:
    """Return an engine's time in seconds since 1970, or None if it is no time.

    Args:
        value: ISO 8601 with a zone, or a number of seconds.

    >>> parse_time("1970-01-01T01:00:02.500000000+01:00"), parse_time(2), parse_time("yesterday")
    (2.5, 2.0, None)
    """
    if isinstance(value, (int, float)):
        return float(value)
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    base, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(base + ("+00:00" if zone == "Z" else zone))
        return moment.timestamp() + float(fraction or 0)
    except (ValueError, OverflowError):
        return None


def find_value(value: Any, *keys: str) -> Any:
    """Return the value below keys of nested JSON objects, or None if there is none.

    Args:
        value: a parsed JSON value.
        keys: key of the outermost object first.
    """
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
