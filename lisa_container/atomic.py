"""Files that a reader never finds half written."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path


def replace_file(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file: a reader sees the complete old or the complete new content.

    The new file has the mode that the umask gives. If an error is raised, the old file stays.

    Args:
        path: Path of the file; its folder must exist.
        pieces: Content.

    Raises:
        OSError: The file cannot be written.
    """
    partial = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    number = os.open(partial, flags, 0o666)
    try:
        with os.fdopen(number, "wb") as file:
            file.writelines(pieces)
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
