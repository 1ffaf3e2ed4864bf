"""`Store`: the files of an image's archive, which is a tar (maybe compressed) or a folder."""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from lisa_container.archives import tar
from lisa_container.archives.destination import is_link
from lisa_container.images.extract.budget import Budget
from lisa_container.images.extract.compression import decompressed, is_compressed
from lisa_container.images.extract.faults import Fault, Unsafe, quote
from lisa_container.images.extract.source import FileSource, pieces_at, read_at

# Most bytes of a manifest, an index or a config; registries refuse larger manifests.
_MOST_JSON = 4 * 1024 * 1024
# Most links to follow, as in path_resolution(7).
_MOST_LINKS = 40


class Store(Protocol):
    """Files of an archive, by their paths in it."""

    def __contains__(self, name: str) -> bool:
        """Tell whether the archive has a file."""

    def size(self, name: str) -> int:
        """Return the size of a file in bytes.

        Raises:
            Fault: the file is missing.
        """

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the content of a file in pieces.

        Raises:
            Fault: the file is missing.
        """


def read_small(store: Store, name: str) -> bytes:
    """Return the whole content of a small file.

    Raises:
        Fault: the file is missing or too large.
    """
    size = store.size(name)
    if size > _MOST_JSON:
        raise Fault(f"'{name}' has {size} bytes; legal: at most {_MOST_JSON}")
    return b"".join(store.chunks(name))


@contextlib.contextmanager
def open_store(archive: Path, scratch: Path, budget: Budget) -> Iterator[Store]:
    """Open the files of an archive for a `with` block.

    Args:
        archive: a tar file, or a folder with an OCI layout.
        scratch: folder in which a compressed archive is unpacked to a file without a name.
        budget: limits the number of files, and the unpacked bytes.

    Raises:
        Fault: the archive is malformed or too large.
        OSError: the archive cannot be read.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # do not wait for the writer of a pipe
    handle = os.open(archive, flags)
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            yield _Folder(handle)
        elif not stat.S_ISREG(mode):
            raise Fault("it is neither a file nor a folder")
        elif not is_compressed(read_at(handle, 0, 6)):
            yield _Tar(handle, budget)
        else:
            with tempfile.TemporaryFile(dir=scratch) as file:
                packed = pieces_at(handle, 0, os.fstat(handle).st_size)
                for chunk in budget.limit(decompressed(packed)):
                    file.write(chunk)
                file.flush()
                yield _Tar(file.fileno(), budget)
    finally:
        os.close(handle)


class _Tar:
    """Files of an uncompressed tar."""

    def __init__(self, handle: int, budget: Budget) -> None:
        self._handle = handle
        self._files: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        if os.fstat(handle).st_size == 0:
            raise Fault("it is empty")
        source = FileSource(handle)
        for entry in tar.TarReader(source):
            budget.count_entry()
            name = _inside(entry.name)
            if entry.kind == tar.FILE:
                self._links.pop(name, None)
                self._files[name] = (source.at, entry.size)
            elif entry.kind == tar.SYMLINK:  # Docker before 25: a repeated layer
                folder = posixpath.dirname(name).encode("utf-8", "surrogateescape")
                self._links[name] = _inside(folder + b"/" + entry.link, entry.link)
            elif entry.kind == tar.LINK:
                self._links[name] = _inside(entry.link)

    def __contains__(self, name: str) -> bool:
        return self._find(name) is not None

    def size(self, name: str) -> int:
        return self._place(name)[1]

    def chunks(self, name: str) -> Iterator[bytes]:
        at, size = self._place(name)
        return pieces_at(self._handle, at, size)

    def _place(self, name: str) -> tuple[int, int]:
        place = self._find(name)
        if place is None:
            raise Fault(f"'{name}' is missing in it")
        return place

    def _find(self, name: str) -> tuple[int, int] | None:
        for _ in range(_MOST_LINKS):
            if name not in self._links:
                return self._files.get(name)
            name = self._links[name]
        return None


class _Folder:
    """Files of a folder."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __contains__(self, name: str) -> bool:
        try:
            os.close(self._open(name))
        except (Fault, OSError):
            return False
        return True

    def size(self, name: str) -> int:
        file = self._open(name)
        try:
            return os.fstat(file).st_size
        finally:
            os.close(file)

    def chunks(self, name: str) -> Iterator[bytes]:
        file = self._open(name)
        try:
            yield from pieces_at(file, 0, os.fstat(file).st_size)
        finally:
            os.close(file)

    def _open(self, name: str) -> int:
        """Open a file; links are followed inside of the folder only."""
        path = name
        for _ in range(_MOST_LINKS):
            file = self._step(path, name)
            if isinstance(file, int):
                break
            path = file
        else:
            raise Fault(f"'{name}' in it is behind too many links")
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise Fault(f"'{name}' in it is no file")
        return file

    def _step(self, path: str, name: str) -> int | str:
        """Open the file at a path, or return the path with its first link resolved."""
        parts = path.split("/")
        if {"", ".", ".."} & {*parts}:
            raise Unsafe(f"'{name[:200]}' leads outside of it")
        folder = os.dup(self._handle)
        try:
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            for depth, part in enumerate(parts, 1):
                if is_link(folder, os.fsencode(part)):
                    target = os.readlink(part, dir_fd=folder)
                    above, rest = "/".join(parts[: depth - 1]), "/".join(parts[depth:])
                    return _link_target(above, target, rest, name)
                kind = os.O_DIRECTORY if depth < len(parts) else 0
                inner = os.open(part, flags | kind, dir_fd=folder)
                os.close(folder)
                folder = inner
            return os.dup(folder)
        except FileNotFoundError as error:
            raise Fault(f"'{name}' is missing in it") from error
        finally:
            os.close(folder)


def _link_target(folder: str, target: str, rest: str, name: str) -> str:
    """Return the path that a link leads to, relative to the layout."""
    path = posixpath.normpath(posixpath.join(folder, target, rest))
    if posixpath.isabs(target) or path.split("/")[0] == "..":
        raise Unsafe(f"'{name[:200]}' in it is a link to '{target[:200]}', outside of it")
    return path


def _inside(path: bytes, shown_as: bytes | None = None) -> str:
    """Return a path of the archive in its shortest form."""
    normal = posixpath.normpath(path or b".")
    if path.startswith(b"/") or normal.split(b"/")[0] == b"..":
        raise Unsafe(f"{quote(shown_as or path)} in it leads outside of it")
    return normal.decode("utf-8", "surrogateescape")
