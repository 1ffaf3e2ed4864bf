"""Validation of the fields of a record."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import PurePosixPath
from typing import Any

LONGEST_TEXT = 1 << 20
"""Maximum length of a text in the index, in characters; the file has the whole text."""

# SQLite's integers have 64 bits.
_LARGEST = (1 << 63) - 1
_LONGEST_DURATION = 100 * 366 * 86400.0
# Plausible years of a runner's clock.
_FIRST_YEAR, _LAST_YEAR = 2000, 2199
_SHOWN = 60

Complain = Callable[[str], None]


class Fields:
    """Fields of a record, each validated when it is read.

    A missing, null or invalid field reads as empty. `complain` is called for an invalid one.

    Args:
        record: the record, as parsed from JSON.
        complain: called with a description of each invalid field.
    """

    def __init__(self, record: Mapping[str, Any], complain: Complain) -> None:
        """Wrap a record; nothing is validated yet."""
        self._record = record
        self._complain = complain

    def text(self, name: str) -> str:
        """Return a text; empty if there is none.

        Args:
            name: name of the field.
        """
        value = self._record.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            self._wrong(name, value, "a text")
            return ""
        return value[:LONGEST_TEXT]

    def whole(self, name: str) -> int | None:
        """Return a whole number of up to 64 bits, or None.

        Args:
            name: name of the field.
        """
        value = self._record.get(name)
        if isinstance(value, bool):
            return int(value)
        if value is None or (isinstance(value, int) and -_LARGEST <= value <= _LARGEST):
            return value
        self._wrong(name, value, "a whole number of 64 bits")
        return None

    def seconds(self, name: str) -> float | None:
        """Return a duration in seconds, or None.

        Args:
            name: name of the field.
        """
        value = self._record.get(name)
        if value is None:
            return None
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if is_number and math.isfinite(value) and 0 <= value <= _LONGEST_DURATION:
            return float(value)
        self._wrong(name, value, "seconds")
        return None

    def moment(self, name: str) -> str:
        """Return a time in ISO 8601, in UTC with microseconds; empty if there is none.

        Args:
            name: name of the field.
        """
        value = self._record.get(name)
        if value is None or value == "":
            return ""
        try:
            found = datetime.fromisoformat(value).astimezone(timezone.utc)
            if _FIRST_YEAR <= found.year <= _LAST_YEAR:
                return found.isoformat(timespec="microseconds")
        except (TypeError, ValueError, OverflowError):
            pass
        self._wrong(name, value, f"a time of the years {_FIRST_YEAR} to {_LAST_YEAR}")
        return ""

    def part(self, name: str) -> Fields:
        """Return the fields of a nested record; empty if there is none.

        Args:
            name: name of the field.
        """
        value = self._record.get(name)
        if value is not None and not isinstance(value, dict):
            self._wrong(name, value, "an object")
        return Fields(value if isinstance(value, dict) else {}, self._complain)

    def json(self, name: str) -> str:
        """Return an object as JSON; `{}` if there is none.

        Args:
            name: name of the field.
        """
        value = self._record.get(name)
        if value is None:
            return "{}"
        try:
            if isinstance(value, dict):
                return json.dumps(value, allow_nan=False)
        except (ValueError, RecursionError):
            pass
        self._wrong(name, value, "an object")
        return "{}"

    def names(self, name: str) -> list[str]:
        """Return a list of file names, without those that are paths.

        Args:
            name: name of the field.
        """
        value = self._record.get(name)
        if not isinstance(value, list):
            if value is not None:
                self._wrong(name, value, "a list of names")
            return []
        found = [each for each in value if is_name(each)]
        if len(found) < len(value):
            self._wrong(name, value, "a list of names")
        return found

    def _wrong(self, name: str, value: object, legal: str) -> None:
        given = f"a list of {len(value)}" if isinstance(value, list) else _shown(value)
        self._complain(f"field '{name}': given {given}; legal: {legal}")


def is_name(value: object) -> bool:
    """Return whether a value is a file name, not a path.

    Args:
        value: any value.
    """
    return (
        isinstance(value, str)
        and value not in ("", ".", "..")
        and "\0" not in value
        and PurePosixPath(value).name == value
    )


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, int):
        return "a huge number" if abs(value) > _LARGEST else str(value)
    return repr(value[:_SHOWN] if isinstance(value, str) else value)
