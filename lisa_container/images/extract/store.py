"""The files of an image's archive: of a tar, compressed or not, or of a folder."""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from lisa_container.images.extract import tar
from lisa_container.images.extract.budget import Budget
from lisa_container.images.extract.compression import decompressed, is_compressed
from lisa_container.images.extract.faults import Fault, Unsafe, shown
from lisa_container.images.extract.source import FileSource, pieces_at, read_at

# Of a manifest, an index or a config: registries refuse larger manifests.
_MOST_JSON = 4 * 1024 * 1024
# path_resolution(7) gives up there too.
_MOST_LINKS = 40


class Store(Protocol):
    """The files of an archive by their paths in it."""

    def __contains__(self, name: str) -> bool:
        """Whether there is such a file."""

    def size(self, name: str) -> int:
        """Bytes of a file.

        Raises:
            Fault: it is not there.
        """

    def chunks(self, name: str) -> Iterator[bytes]:
        """A file, a piece at a time.

        Raises:
            Fault: it is not there.
        """


def read_small(store: Store, name: str) -> bytes:
    """A whole file.

    Raises:
        Fault: it is not there, or too large for what it should be.
    """
    size = store.size(name)
    if size > _MOST_JSON:
        raise Fault(f"'{name}' has {size} bytes; legal: at most {_MOST_JSON}")
    return b"".join(store.chunks(name))


@contextlib.contextmanager
def open_store(archive: Path, scratch: Path, budget: Budget) -> Iterator[Store]:
    """The files of an archive, for the time of a `with` block.

    Args:
        archive: a tar file, or a folder with an OCI layout.
        scratch: a folder where a compressed archive is unpacked to a file without a name.
        budget: bounds how many files, and how large when unpacked.

    Raises:
        Fault: it is malformed or too large.
        OSError: it cannot be read.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe must not hold us up
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
                for chunk in budget.counted(decompressed(packed)):
                    file.write(chunk)
                file.flush()
                yield _Tar(file.fileno(), budget)
    finally:
        os.close(handle)


class _Tar:
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
            elif entry.kind == tar.SYMLINK:  # Docker before 25: a layer that is there already
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
        """No link is followed: a layout has none."""
        *parents, last = name.split("/")
        if {"", ".", ".."} & {*parents, last}:
            raise Unsafe(f"'{name[:200]}' leads outside of it")
        folder = os.dup(self._handle)
        try:
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            for part in parents:
                inner = os.open(part, flags | os.O_DIRECTORY, dir_fd=folder)
                os.close(folder)
                folder = inner
            file = os.open(last, flags, dir_fd=folder)
        except FileNotFoundError as error:
            raise Fault(f"'{name}' is missing in it") from error
        finally:
            os.close(folder)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise Fault(f"'{name}' in it is no file")
        return file


def _inside(path: bytes, shown_as: bytes | None = None) -> str:
    """A path in the archive in its shortest form."""
    normal = posixpath.normpath(path or b".")
    if path.startswith(b"/") or normal.split(b"/")[0] == b"..":
        raise Unsafe(f"{shown(shown_as or path)} in it leads outside of it")
    return normal.decode("utf-8", "surrogateescape")
