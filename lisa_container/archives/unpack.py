"""Unpacker of a tar stream from a container onto this machine.

The container may be hostile. So nothing outside of the destination is written or changed, and
memory and disk use are bounded. `tarfile` would hold a header of any size in memory, accept a
truncated archive, and follow links.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lisa_container.archives import tar
from lisa_container.archives.destination import (
    NEW_FILE,
    OPEN_FOLDER,
    Destination,
    is_link,
    local_error,
)
from lisa_container.archives.tar import Fault, StreamSource, TarEntry, TarReader, quote
from lisa_container.errors import ContainerError, CopyError

Parts = tuple[bytes, ...]

# PATH_MAX of Linux, and far more folders than an honest copy has.
_LONGEST_PATH, _MOST_FOLDERS = 4096, 256
# Bytes that may follow an archive: tar fills its last record of 10 KiB.
_MOST_TAIL = 1024 * 1024
# Without setuid and setgid: such a file would run with the rights of the user who copied it.
_MODE = 0o1777
_MADE = {tar.FILE, tar.FOLDER, tar.SYMLINK, tar.LINK, tar.FIFO}


@dataclass(frozen=True)
class CopyLimits:
    """Limits of a copy from a container.

    Args:
        max_bytes: size of all files together, holes of sparse files included.
        max_entries: number of files, folders, links and so on.
        max_seconds: duration of the copy; None: no limit while data comes.
    """

    max_bytes: int = 64 * 1024**3
    max_entries: int = 1_000_000
    max_seconds: float | None = None


DEFAULT_LIMITS = CopyLimits()


class HardLinkError(Exception):
    """The wanted entry is a hard link to another entry of the archive.

    Args:
        parts: the other entry's path below the first entry.
    """

    def __init__(self, parts: Parts) -> None:
        """Keep the path of the other entry."""
        super().__init__(parts)
        self.parts = parts


def unpack(
    stream: Iterable[bytes],
    place: Destination,
    limits: CopyLimits = DEFAULT_LIMITS,
    kinds: Collection[bytes] = (tar.FILE, tar.FOLDER, tar.FIFO),
    wanted: Parts = (),
) -> list[str]:
    """Write the content of a container's tar stream; return the devices that were left out.

    Args:
        stream: chunks of an uncompressed tar. Its first entry is the file or folder itself.
        place: destination of the first entry.
        limits: limits of the copy; exceeding one is an error.
        kinds: kinds of `tar` that the first entry may have.
        wanted: write only this entry, given by its path below the first entry.

    Returns:
        Paths of devices, which are never made on this machine.

    Raises:
        CopyError: an entry points outside, cannot be written or exceeds a limit; or the stream is
            truncated, is not a tar or is empty.
        HardLinkError: the wanted entry is a hard link.
    """
    source = StreamSource(limit_time(stream, place, limits.max_seconds))
    reader = TarReader(source, takes_sparse=True, takes_old_sparse=True)
    unpacking = _Unpacking(place, limits, kinds, wanted)
    try:
        try:
            unpacking.all(reader)
            if wanted:
                return unpacking.left_out  # the rest is not needed
            if not reader.ended:
                raise Fault("its end is missing")
            if not source.drain(_MOST_TAIL):
                raise Fault("data follows its end")
        finally:
            unpacking.close()
    except ContainerError:
        raise  # from the stream; SshLostError is an OSError too
    except Fault as fault:
        raise CopyError(
            str(place.path), f"the container sent a damaged tar archive: {fault}"
        ) from fault
    except OSError as error:
        raise local_error(place.path, error) from error
    return unpacking.left_out


def limit_time(
    stream: Iterable[bytes], place: Destination, seconds: float | None
) -> Iterator[bytes]:
    """Yield the chunks of a stream until its time limit.

    Args:
        stream: the chunks.
        place: their destination, for the message.
        seconds: the time limit; None: no limit.

    Raises:
        CopyError: the time limit was reached.
    """
    began = time.monotonic()
    for chunk in stream:
        yield chunk
        if seconds is not None and time.monotonic() - began > seconds:
            raise CopyError(str(place.path), f"it was not complete after {seconds:.0f} seconds")


class _Unpacking:
    """Writer of one archive's entries."""

    def __init__(
        self, place: Destination, limits: CopyLimits, kinds: Collection[bytes], wanted: Parts
    ) -> None:
        self.left_out: list[str] = []
        self._place = place
        self._limits = limits
        self._kinds = kinds
        self._wanted = wanted
        self._bytes = 0
        self._entries = 0
        self._root: Parts | None = None
        self._is_there = False
        self._folders: dict[Parts, TarEntry] = {}
        self._links: set[Parts] = set()
        self._devices: set[Parts] = set()
        # The folder of the last entry, since the next entry is often in it too.
        self._near: tuple[Parts, int] | None = None

    def close(self) -> None:
        """Close the folder that is held open."""
        if self._near is not None:
            os.close(self._near[1])
            self._near = None

    def all(self, reader: TarReader) -> None:
        """Write all entries."""
        for entry in reader:
            self._entries += 1
            if self._entries > self._limits.max_entries:
                raise too_large(self._place, self._limits.max_entries, "entries")
            parts = self._parts(entry.name, "")
            if self._wanted:
                if parts != self._wanted:
                    continue
                if entry.kind == tar.LINK:
                    raise HardLinkError(self._parts(entry.link, "a hard link "))
                parts = ()
            try:
                self._make(parts, entry, reader)
            except OSError as error:
                if isinstance(error, ContainerError):
                    raise
                raise local_error(
                    self._place.path.joinpath(*map(os.fsdecode, parts)), error
                ) from error
            if self._wanted:
                break
        if not self._is_there and reader.ended:
            raise self._error("it is empty: the file may have been removed meanwhile")
        # Deepest first, since a folder's mode may bar us from entering it.
        for parts in sorted(self._folders, key=len, reverse=True):
            self._finish_folder(parts, self._folders[parts])

    # --- entries --------------------------------------------------------------------------------

    def _parts(self, name: bytes, what: str) -> Parts:
        """Return the parts of an entry's name below the first entry."""
        parts = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
        if self._root is None:
            self._root = parts
        depth = len(self._root)
        if b".." in parts or parts[:depth] != self._root:
            raise self._error(f"{what or 'it '}names a path outside itself: {quote(name)}")
        if len(name) > _LONGEST_PATH or len(parts) > _MOST_FOLDERS:
            raise self._error(
                f"{what}{quote(name)} is too long; the limits are {_LONGEST_PATH} bytes and "
                f"{_MOST_FOLDERS} folders: copy a folder further down"
            )
        return parts[depth:]

    def _make(self, parts: Parts, entry: TarEntry, reader: TarReader) -> None:
        if entry.kind not in _MADE:
            self._leave_out(parts)
            return
        if not parts:
            if entry.kind not in self._kinds:
                raise self._error(
                    "its kind is neither the requested one nor the one that the container "
                    "reported: it may have been changed meanwhile"
                )
            self._is_there = True
        if entry.kind == tar.FOLDER:
            self._folder(parts)
            self._folders[parts] = entry
            return
        folder, name = self._holder(parts)
        if entry.kind == tar.LINK:
            self._hard_link(parts, entry, folder, name)
            return
        self._clear(parts, folder, name)
        if entry.kind == tar.FILE:
            self._write(entry, reader, folder, name)
        elif entry.kind == tar.FIFO:
            os.mkfifo(name, 0o600, dir_fd=folder)
            # Opening a pipe like this does not wait, and the descriptor is surely of this pipe.
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
            with _closing(os.open(name, flags, dir_fd=folder)) as pipe:
                _set_mode_and_time(pipe, entry)
        else:
            os.symlink(entry.link or b".", name, dir_fd=folder)
            times = (entry.mtime, entry.mtime)
            os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)
            self._links.add(parts)

    def _leave_out(self, parts: Parts) -> None:
        if not parts:
            raise CopyError(
                str(self._place.path), "it is a device, which is never made on this machine"
            )
        self._devices.add(parts)
        self.left_out.append(quote(b"/".join(parts)))

    def _hard_link(self, parts: Parts, entry: TarEntry, folder: int, name: bytes) -> None:
        first = self._parts(entry.link, "a hard link ")
        if first in self._devices:
            self._leave_out(parts)
            return
        if first == parts:
            return
        holder = self._find(first[:-1]) if first else None
        with _closing(holder):
            try:
                if holder is None:
                    raise FileNotFoundError
                target = os.lstat(first[-1], dir_fd=holder)
            except FileNotFoundError:
                target = None
            if target is None or holder is None or stat.S_ISDIR(target.st_mode):
                raise self._error(f"{quote(entry.name)} is a hard link to no file in it")
            self._clear(parts, folder, name)
            os.link(first[-1], name, src_dir_fd=holder, dst_dir_fd=folder, follow_symlinks=False)
        if first in self._links:
            self._links.add(parts)

    def _write(self, entry: TarEntry, reader: TarReader, folder: int, name: bytes) -> None:
        self._bytes += entry.size
        if self._bytes > self._limits.max_bytes:
            raise too_large(self._place, self._limits.max_bytes, "bytes")
        with _closing(os.open(name, NEW_FILE, 0o600, dir_fd=folder)) as file:
            write_parts(file, reader.parts(), entry.size)
            _set_mode_and_time(file, entry)

    # --- folders --------------------------------------------------------------------------------

    def _holder(self, parts: Parts) -> tuple[int, bytes]:
        """Open the folder of an entry; return its descriptor and the entry's name in it."""
        if not parts:
            return self._place.folder, self._place.name
        return self._folder(parts[:-1]), parts[-1]

    def _folder(self, parts: Parts) -> int:
        """Open a folder of the copy, made if it is missing, until the next call."""
        near = self._near
        if near is not None and near[0] == parts:
            return near[1]
        if near is not None and parts[:-1] == near[0]:
            inner = self._enter(parts, near[1], parts[-1])
        else:
            inner = self._enter((), self._place.folder, self._place.name)
            for depth, part in enumerate(parts, 1):
                with _closing(inner):
                    inner = self._enter(parts[:depth], inner, part)
        self.close()
        self._near = parts, inner
        return inner

    def _enter(self, parts: Parts, folder: int, name: bytes) -> int:
        """Open a folder in another, made if it is missing."""
        if parts in self._links:
            raise self._error(f"an entry is below the link {quote(b'/'.join(parts))} in it")
        try:
            return self._opened(parts, folder, name)
        except FileNotFoundError:
            pass
        except OSError as error:
            if not is_link(folder, name):
                if isinstance(error, NotADirectoryError):
                    raise self._error(f"a file is in the way at '{self._path(parts)}'") from error
                raise
            os.unlink(name, dir_fd=folder)  # a link of an earlier copy, which may lead anywhere
        os.mkdir(name, 0o700, dir_fd=folder)
        return os.open(name, OPEN_FOLDER, dir_fd=folder)

    def _opened(self, parts: Parts, folder: int, name: bytes) -> int:
        try:
            inner = os.open(name, OPEN_FOLDER, dir_fd=folder)
        except PermissionError:
            # An earlier copy made a folder without rights. An O_PATH descriptor needs none and
            # follows no link; through it we give ourselves the rights.
            with _closing(os.open(name, OPEN_FOLDER | os.O_PATH, dir_fd=folder)) as handle:
                mode = stat.S_IMODE(os.fstat(handle).st_mode)
                Path(f"/proc/self/fd/{handle}").chmod(mode | 0o700)
            inner = os.open(name, OPEN_FOLDER, dir_fd=folder)
        mode = stat.S_IMODE(os.fstat(inner).st_mode)
        if parts not in self._folders and mode & 0o700 != 0o700:
            with contextlib.suppress(PermissionError):  # another user's folder stays as it is
                os.fchmod(inner, mode | 0o700)
        return inner

    def _find(self, parts: Parts) -> int | None:
        """Open an existing folder of the copy; return None if there is none."""
        try:
            folder = os.open(self._place.name, OPEN_FOLDER, dir_fd=self._place.folder)
            for part in parts:
                with _closing(folder):
                    folder = os.open(part, OPEN_FOLDER, dir_fd=folder)
        except OSError:
            return None
        return folder

    def _clear(self, parts: Parts, folder: int, name: bytes) -> None:
        """Remove a file or link that is in the way; refuse to remove a folder."""
        self._links.discard(parts)
        try:
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            try:
                is_folder = stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode)
            except OSError:
                is_folder = False
            if not is_folder:
                raise
            raise self._error(f"a folder is in the way at '{self._path(parts)}'") from error

    def _finish_folder(self, parts: Parts, entry: TarEntry) -> None:
        folder = self._find(parts)
        if folder is not None:  # else a later entry of the same name replaced it
            with _closing(folder):
                _set_mode_and_time(folder, entry)

    def _path(self, parts: Parts) -> str:
        return str(self._place.path.joinpath(*map(os.fsdecode, parts)))

    def _error(self, reason: str) -> CopyError:
        return CopyError(
            str(self._place.path), f"the container's archive cannot be copied: {reason}"
        )


def too_large(place: Destination, most: int, what: str) -> CopyError:
    """Return the error for a copy that exceeds a limit.

    Args:
        place: destination of the copy.
        most: the limit.
        what: `bytes` or `entries`.
    """
    return CopyError(
        str(place.path),
        f"it has more than {most} {what} in the container and might fill the disk. To allow that "
        f"size, give copy_from a larger max_{what}",
    )


def write_all(file: int, data: bytes) -> None:
    """Write all of `data` to the descriptor `file`."""
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


def write_parts(file: int, parts: Iterable[tuple[int, bytes]], size: int) -> None:
    """Write the content of a file, which may be sparse.

    Args:
        file: descriptor of a new, empty file.
        parts: pieces in their order, each with its offset in bytes.
        size: size of the file in bytes, with its holes.
    """
    end = 0
    for at, piece in parts:
        if at != end:
            os.lseek(file, at, os.SEEK_SET)
        write_all(file, piece)
        end = at + len(piece)
    if end != size:
        os.ftruncate(file, size)  # the last hole


def _set_mode_and_time(handle: int, entry: TarEntry) -> None:
    os.fchmod(handle, entry.mode & _MODE)
    os.utime(handle, ns=(entry.mtime, entry.mtime))


@contextlib.contextmanager
def _closing(handle: int | None) -> Iterator[int]:
    try:
        yield -1 if handle is None else handle
    finally:
        if handle is not None:
            os.close(handle)
