"""A snapshot on disk."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path

from lisa_container.errors import ConfigError, SnapshotError

# No folder, no hidden file, nothing that a file system on the runner could not have.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?")


def snapshot_path(folder: Path, name: str) -> Path:
    """Where a snapshot is.

    Args:
        folder: for snapshots.
        name: of this one.

    Raises:
        ConfigError: the name is none.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"snapshot, name: given {name!r}; legal: up to 100 letters, digits, '.', '_' and '-', "
            "a letter or digit first and no '.' last (it becomes the name of a file)"
        )
    return folder / f"{name}.txt"


def read_snapshot(path: Path) -> str | None:
    """What a snapshot holds; None where there is none.

    Args:
        path: of it.

    Raises:
        SnapshotError: it cannot be read, or is no text.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as error:
        raise SnapshotError(
            str(path), f"is no text in UTF-8 ({error}). Remove it, and make it anew"
        ) from error
    except OSError as error:
        raise SnapshotError(str(path), f"cannot be read: {error.strerror}") from error


def write_snapshot(path: Path, text: str) -> None:
    """Make or replace a snapshot: whoever reads it sees the old one or the new one, whole.

    Args:
        path: of it; its folder is made.
        text: that it will hold.

    Raises:
        SnapshotError: it cannot be written; what was there stays.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        part = Path(name)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(text.encode("utf-8"))
            # mkstemp's are for nobody else, and these go into version control.
            part.chmod(0o644)
            part.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
    except OSError as error:
        raise SnapshotError(
            str(path),
            f"cannot be written: {error.strerror}. Snapshots are made beside the suite's file: "
            "update them in a checkout that you may write to",
        ) from error
