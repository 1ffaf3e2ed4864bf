"""Reader of the files of a run.

A file may be written at the same time, be cut by a kill, or be replaced by something hostile. Only
regular files are read, without following links, without waiting, and with a limit of bytes. JSON
that cannot be parsed is left out and reported.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from lisa_container.parsing import parse_int

LARGEST_FILE = 8 << 20
"""Maximum size in bytes of a file that is read whole; ours have a few KiB."""
LONGEST_LINE = 16 << 20
"""Maximum length in bytes of a line: two streams of 1 MiB, each byte as a JSON escape of six."""
MOST_BYTES_AT_ONCE = 1 << 30
"""Maximum number of bytes that are read of a file of lines at once; the next call goes on."""

_BLOCK = 1 << 20


class RecordError(Exception):
    """Error for a file of a run that cannot be used; the other files can.

    Args:
        path: path of the file.
        reason: description of the fault.
    """

    def __init__(self, path: Path, reason: str) -> None:
        """Make the message from path and reason."""
        super().__init__(f"'{path}' {reason}")
        self.path = path
        self.reason = reason


@contextlib.contextmanager
def open_record(path: Path) -> Iterator[IO[bytes]]:
    """Open a file of a run for reading, without ever waiting.

    Args:
        path: path of the file.

    Raises:
        FileNotFoundError: the file does not exist.
        RecordError: the file cannot be opened, or is not a regular file.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
    try:
        number = os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(*error.args) from error
    except (OSError, ValueError) as error:
        raise RecordError(path, f"cannot be opened: {error}") from error
    mode = os.fstat(number).st_mode
    if not stat.S_ISREG(mode):
        os.close(number)
        raise RecordError(path, f"is no regular file ({stat.filemode(mode)})")
    with os.fdopen(number, "rb") as file:
        yield file


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Args:
        path: path of the file.

    Raises:
        FileNotFoundError: the file does not exist.
        RecordError: the file cannot be read, is too large, or holds other JSON.
    """
    found = _read(path)
    if not isinstance(found, dict):
        raise RecordError(path, "holds no JSON object")
    return found


def read_list(path: Path) -> list[dict[str, Any]]:
    """Return the objects of the JSON list in a file.

    Args:
        path: path of the file.

    Raises:
        FileNotFoundError: the file does not exist.
        RecordError: the file cannot be read, is too large, or holds other JSON.
    """
    found = _read(path)
    if not isinstance(found, list):
        raise RecordError(path, "holds no JSON list")
    return [each for each in found if isinstance(each, dict)]


def read_lines(path: Path, offset: int = 0) -> Iterator[tuple[dict[str, Any] | None, int]]:
    """Read the whole lines of a file with one JSON object per line.

    Args:
        path: path of the file.
        offset: byte to begin at.

    Yields:
        The object, or None for an invalid line; and the offset of the next line.

    Raises:
        FileNotFoundError: the file does not exist.
        RecordError: the file cannot be read.
    """
    end = offset + MOST_BYTES_AT_ONCE
    with open_record(path) as file, _explained(path):
        file.seek(offset)
        while offset < end:
            line = file.readline(LONGEST_LINE)
            size, is_long = len(line), len(line) == LONGEST_LINE
            while is_long and line and not line.endswith(b"\n") and offset + size < end:
                line = file.readline(_BLOCK)
                size += len(line)
            if not is_long and not line.endswith(b"\n"):
                return  # the writer has not finished the line
            offset += size
            found = None if is_long else _parse_line(line)
            yield (found if isinstance(found, dict) else None), offset


def _read(path: Path) -> Any:
    with open_record(path) as file, _explained(path):
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise RecordError(path, f"is larger than {LARGEST_FILE} bytes")
    try:
        return _parse(data)
    except (ValueError, RecursionError) as error:
        reason = f"holds no whole JSON: {error}"
        raise RecordError(path, reason) from error


def _parse_line(line: bytes) -> Any:
    try:
        return _parse(line)
    except (ValueError, RecursionError):
        return None


def _parse(data: bytes) -> Any:
    text = data.decode("utf-8", "surrogateescape")
    # Old versions of Python take hours to parse a number of a million digits.
    return json.loads(text, parse_int=parse_int, parse_constant=lambda name: None)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RecordError(path, f"cannot be read: {error}") from error
