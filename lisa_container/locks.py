"""Locks on folders, which end with the processes that hold them.

Only the standard library is imported, because the sandbox's keeper uses this.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock on a folder in this block, after waiting for it.

    Args:
        folder: Existing folder.
    """
    lock = _open(folder)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def try_lock(folder: Path) -> int | None:
    """Lock a folder, and return the descriptor that holds the lock.

    Args:
        folder: Folder, which another process may be removing.

    Returns:
        The descriptor. None if another process holds the lock, or has removed the folder.
    """
    try:
        lock = _open(folder)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
