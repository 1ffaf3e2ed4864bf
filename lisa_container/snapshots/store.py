"""Snapshot files on disk."""

from __future__ import annotations

import re
from pathlib import Path

from lisa_container.atomic import replace_file
from lisa_container.errors import ConfigError, SnapshotError

# No folder, no hidden file, and only characters that every file system allows.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?")


def snapshot_path(folder: Path, name: str) -> Path:
    """Return the path of a snapshot.

    Raises:
        ConfigError: the name is illegal.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"snapshot, name: given {name!r}; legal: up to 100 letters, digits, '.', '_' and '-', "
            "a letter or digit first and no '.' last (it becomes the name of a file)"
        )
    return folder / f"{name}.txt"


def read_snapshot(path: Path) -> str | None:
    """Return the content of a snapshot, or None if it does not exist.

    Raises:
        SnapshotError: the file cannot be read, or is not text.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as error:
        raise SnapshotError(
            str(path), f"is not UTF-8 text ({error}). Remove it and create it again"
        ) from error
    except OSError as error:
        raise SnapshotError(str(path), f"cannot be read: {error.strerror}") from error


def write_snapshot(path: Path, text: str) -> None:
    """Write a snapshot atomically: a reader sees the complete old or the complete new content.

    Args:
        path: path of the snapshot; its folder is created.
        text: new content.

    Raises:
        SnapshotError: the file cannot be written; the old content stays.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, [text.encode("utf-8")])
    except OSError as error:
        raise SnapshotError(
            str(path),
            f"cannot be written: {error.strerror}. Snapshots are beside the suite's file; update "
            "them in a checkout where you have write permission",
        ) from error
