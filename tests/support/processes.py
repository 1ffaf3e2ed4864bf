"""Processes of this machine."""

from __future__ import annotations

from pathlib import Path


def runs(pid: int | str) -> bool:
    """Return whether a process exists and is no zombie.

    A zombie whose other threads are still ending holds its files and locks, and counts as running.
    """
    process = Path(f"/proc/{pid}")
    try:
        is_zombie = (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        return not is_zombie or len(list((process / "task").iterdir())) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False
