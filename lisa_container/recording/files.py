"""Folder of the run, and writing of its files."""

from __future__ import annotations

import errno
import json
import os
import stat
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lisa.util import constants

from lisa_container.atomic import replace_file

_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def run_folder() -> Path | None:
    """Return LISA's folder of the run; None outside of a run."""
    folder = constants.RUN_LOCAL_LOG_PATH
    return folder if folder != Path() else None


def now() -> str:
    """Return the current time in ISO 8601, in UTC with microseconds."""
    return iso(datetime.now(timezone.utc))


def iso(moment: datetime) -> str:
    """Return a time in ISO 8601 with microseconds.

    Args:
        moment: a time in UTC.
    """
    return moment.isoformat(timespec="microseconds")


def describe_error(error: BaseException) -> str:
    """Return `<class>: <message>` of an error, for a record.

    Args:
        error: the error.
    """
    if any(each.__name__ == "FunctionTimedOut" for each in type(error).__mro__):
        # Its own message has all arguments of the case.
        return "FunctionTimedOut: the time of the case was up"
    return f"{type(error).__name__}: {error}"


def open_to_write(path: Path, flags: int) -> int:
    """Open a record's file for writing; refuse links and devices, and never wait.

    Args:
        path: path of the file, which is created if it is missing.
        flags: `os.O_APPEND` or `os.O_TRUNC`.

    Returns:
        The file descriptor.

    Raises:
        OSError: the file cannot be opened, or is not a regular file.
    """
    flags |= os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    number = os.open(path, flags, 0o644)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "no regular file", str(path))
    return number


def append(path: Path, data: bytes) -> None:
    """Add data to a record's file at once, so that it survives a kill of this process.

    Args:
        path: path of the file; the file and its folder are created if they are missing.
        data: the data.

    Raises:
        OSError: the file cannot be written; a part of the data may be.
    """
    try:
        file = open_to_write(path, os.O_APPEND)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open_to_write(path, os.O_APPEND)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(file, left) :]
    finally:
        os.close(file)


def json_line(content: Any) -> bytes:
    """Return a value as one line of JSON.

    A lone surrogate (a byte that is not UTF-8) becomes a JSON escape and survives reading.

    Args:
        content: a value that JSON can hold.
    """
    return _encoder.encode(content).encode("utf-8", errors="backslashreplace") + b"\n"


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically; a reader finds the old or the new file whole.

    Args:
        path: path of the file; its folder is created.
        content: a value that JSON can hold, masked already.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    replace_file(path, [text.encode("utf-8", errors="backslashreplace")])
