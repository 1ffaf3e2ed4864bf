"""Destination of a copy from a container on this machine.

A container may be hostile and send symbolic links that lead anywhere, for the next copy to follow.
So a copy opens its folder once and then works relative to descriptors. It follows no link where a
container's files are or may be.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lisa_container.errors import CopyDeniedError, CopyError, CopyNotFoundError

OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

# Paths of copies from containers. In and below them this process follows no link.
_copied: set[Path] = set()


@dataclass(frozen=True)
class Destination:
    """Path on this machine to copy to; it need not exist.

    Args:
        folder: descriptor of the parent folder.
        name: name in that folder.
        path: full path, for messages.
    """

    folder: int
    name: bytes
    path: Path


@contextlib.contextmanager
def open_destination(local: Path) -> Iterator[Destination]:
    """Open the parent folder of a user's path for the time of a `with` block.

    A missing folder is made. Links in the path are followed, since they are the user's own, except
    those below a folder that was copied from a container.

    Args:
        local: the path.

    Raises:
        CopyError: the folder cannot be made or opened, or a container's link leads to it.
    """
    # Not `resolve`: it would follow a link that a container sent.
    path = Path(os.path.abspath(local))  # noqa: PTH100
    if not path.name:
        raise CopyError(str(local), "a copy needs a name on this machine")
    try:
        folder, names = _open_parent(path.parent)
    except OSError as error:
        raise local_error(path, error) from error
    with _below(folder, names, path.parent) as parent:
        yield Destination(parent, os.fsencode(path.name), path)


def _open_parent(path: Path) -> tuple[int, tuple[str, ...]]:
    """Open a folder, or its ancestor that holds a copy; return it and the names below it."""
    for above in reversed([path, *path.parents]):
        holder = Path(os.path.realpath(above.parent))
        if holder / above.name in _copied:
            return _open(holder), path.relative_to(above.parent).parts
    path.mkdir(parents=True, exist_ok=True)
    return _open(Path(os.path.realpath(path))), ()


@contextlib.contextmanager
def open_destination_below(folder: Path, name: PurePosixPath) -> Iterator[Destination]:
    """Open the parent folder of a path below `folder` for the time of a `with` block.

    Missing folders are made. No link below `folder` is followed.

    Args:
        folder: the user's folder.
        name: relative path below it, as a container gave it.

    Raises:
        CopyError: the path leads outside of the folder or through a link, or cannot be made.
    """
    path = folder / name
    if name.is_absolute() or ".." in name.parts or not name.name:
        raise CopyError(str(path), f"it is not below '{folder}'")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise local_error(folder, error) from error
    with _below(opened, name.parent.parts, path.parent) as parent:
        yield Destination(parent, os.fsencode(name.name), path)


def mark_copied(place: Destination) -> None:
    """Remember that files from a container are at and below a destination."""
    parent = Path(os.path.realpath(place.path.parent))
    _copied.add(parent / place.path.name)


def local_error(path: Path, error: OSError) -> CopyError:
    """Return the `CopyError` for a system error about a path of this machine.

    Args:
        path: the path to name if the error has none.
        error: the system's error.
    """
    # A name in bytes is relative to a descriptor, so it does not help a reader.
    name = error.filename if isinstance(error.filename, str) else str(path)
    reason = f"{error.strerror or error} (on this machine)"
    if isinstance(error, FileNotFoundError):
        return CopyNotFoundError(name, reason)
    if isinstance(error, PermissionError):
        return CopyDeniedError(name, reason)
    return CopyError(name, reason)


def _open(path: Path) -> int:
    return os.open(path, OPEN_FOLDER)


@contextlib.contextmanager
def _below(folder: int, names: tuple[str, ...], path: Path) -> Iterator[int]:
    """Open a folder below an open one without following links; close both at the end."""
    try:
        for name in names:
            try:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=folder)
                inner = os.open(name, OPEN_FOLDER, dir_fd=folder)
            except OSError as error:
                if is_link(folder, os.fsencode(name)):
                    raise CopyError(
                        str(path),
                        f"'{name}' in it is a symbolic link that an earlier copy may have left: "
                        "no copy is written through it. Give another folder, or remove the link",
                    ) from error
                raise local_error(path, error) from error
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def is_link(folder: int, name: bytes) -> bool:
    """Return whether a name in a folder is a symbolic link; False if it does not exist.

    Args:
        folder: descriptor of the folder.
        name: name in the folder.
    """
    try:
        return stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode)
    except FileNotFoundError:
        return False
