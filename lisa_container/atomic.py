"""Files and folders that a reader never finds half written."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Callable


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


@contextlib.contextmanager
def create_once(
    folder: Path,
    report: Callable[[str], None],
    is_whole: Callable[[Path], bool] = Path.is_dir,
) -> Iterator[Path | None]:
    """Create a folder that other processes may want to create at the same time.

    Args:
        folder: the folder; those above it are created too, the last one for this user only.
        report: function that gets a line if another process creates the folder now.
        is_whole: function that returns whether the folder exists and is as it should be; a folder
            that is not is replaced.

    Yields:
        Path of a temporary folder to create, which is renamed on success. None if the folder
        exists.
    """
    if is_whole(folder):
        yield None
        return
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    # Mode 700, because root file systems have setuid programs that other users must not run.
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"waiting for another process to make {folder}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if is_whole(folder):
            yield None
            return
        _remove(folder)
        temporary = folder.with_name(f"{folder.name}.unfinished")
        # A killed process may have left it.
        _remove(temporary)
        try:
            yield temporary
            temporary.rename(folder)
        finally:
            _remove(temporary)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
