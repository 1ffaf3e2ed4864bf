"""Files into and out of containers as tar streams, a chunk at a time.

Written out by hand where `tarfile` would hold a whole file in memory or, extracting, would change
modes (its safe filters clear write bits) or follow a link out of the destination.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, cast

from lisa_container.errors import ContainerError, CopyDeniedError, CopyError, CopyNotFoundError

_CHUNK = 256 * 1024
_BLOCK = tarfile.BLOCKSIZE
# What every tar archive ends with; without it, it was cut off.
_END = b"\0" * (2 * _BLOCK)


@dataclass
class Packing:
    """How a tar stream is made.

    Args:
        uid: owner of all in it.
        gid: group of all in it.
        format: `tarfile.PAX_FORMAT` keeps fractions of a second; small programs like busybox's tar
            understand only `tarfile.GNU_FORMAT`.
    """

    uid: int = 0
    gid: int = 0
    format: Literal[0, 1, 2] = tarfile.PAX_FORMAT
    _links: dict[tuple[int, int], str] = field(default_factory=dict, init=False, repr=False)

    def pack(self, local: Path, name: str, parents: Iterable[str] = ()) -> Iterator[bytes]:
        """A tar stream of a file or folder.

        Symbolic and hard links inside a folder stay links. Sockets have no content and are left
        out, and so are devices and pipes.

        Args:
            local: what to pack; a symbolic link itself is followed.
            name: path it will have, relative to where the stream is unpacked.
            parents: folders to make before, mode 755.

        Raises:
            CopyError: it cannot be read, or became shorter while it was read.
        """
        for parent in parents:
            yield self._folder(parent)
        waiting: list[tuple[Path, str] | bytes] = [(Path(os.path.realpath(local)), name)]
        while waiting:
            entry = waiting.pop()
            if isinstance(entry, bytes):
                yield entry
                continue
            path, name = entry
            try:
                status = path.lstat()
                info = self._info(path, name, status)
                if info is None:
                    continue
                header = info.tobuf(self.format, "utf-8", "surrogateescape")
                yield header
                if info.isreg():
                    yield from _content(path, info.size)
                elif info.isdir():
                    if self.format == tarfile.GNU_FORMAT:
                        # busybox's tar sets a folder's time at once, and what it then puts in
                        # changes that: the folder comes again behind its content.
                        waiting.append(header)
                    children = sorted(path.iterdir(), reverse=True)
                    waiting.extend((child, f"{name}/{child.name}") for child in children)
            except OSError as error:
                raise local_error(path, error) from error
        yield _END

    def _folder(self, name: str) -> bytes:
        info = self._named(name)
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        return info.tobuf(self.format, "utf-8", "surrogateescape")

    def _named(self, name: str) -> tarfile.TarInfo:
        info = tarfile.TarInfo(name)
        info.uid, info.gid = self.uid, self.gid
        return info

    def _info(self, path: Path, name: str, status: os.stat_result) -> tarfile.TarInfo | None:
        info = self._named(name)
        info.mode = stat.S_IMODE(status.st_mode)
        info.mtime = status.st_mtime if self.format == tarfile.PAX_FORMAT else int(status.st_mtime)
        if stat.S_ISLNK(status.st_mode):
            info.type, info.linkname = tarfile.SYMTYPE, str(path.readlink())
        elif stat.S_ISDIR(status.st_mode):
            info.type = tarfile.DIRTYPE
        elif stat.S_ISREG(status.st_mode):
            first = self._links.setdefault((status.st_dev, status.st_ino), name)
            if status.st_nlink > 1 and first != name:
                info.type, info.linkname = tarfile.LNKTYPE, first
            else:
                info.size = status.st_size
        else:
            return None
        return info


def _content(local: Path, size: int) -> Iterator[bytes]:
    left = size
    with local.open("rb") as file:
        while left:
            data = file.read(min(_CHUNK, left))
            if not data:
                raise CopyError(str(local), "it became shorter while it was copied")
            left -= len(data)
            yield data
    yield b"\0" * (-size % _BLOCK)


def pack_bytes(entries: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """A whole tar archive of small entries made in memory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, data in entries:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def unpack(stream: Iterable[bytes], local: Path) -> None:
    """Write what a tar stream of a container holds.

    The first entry is the file or folder itself; it gets the name `local`. Whatever the stream
    says, nothing outside `local` is written: the container may be hostile.

    Args:
        stream: chunks of an uncompressed tar.
        local: where to; its folder exists.

    Raises:
        CopyError: an entry points outside or cannot be written, or the stream is cut off.
    """
    reader = _Reader(stream)
    try:
        with tarfile.TarFile(fileobj=cast(IO[bytes], reader), mode="r") as archive:
            _Unpacking(local, reader).all(archive)
        reader.expect_end()
    except ContainerError:
        raise  # of the stream; SshLostError is an OSError too
    except OSError as error:
        raise local_error(local, error) from error
    except (tarfile.TarError, ValueError, OverflowError) as error:
        # The last two: a name with a zero byte in it, a time before or after all time.
        raise CopyError(str(local), f"what the container sent is no sound tar: {error}") from error


def local_error(path: Path, error: OSError) -> CopyError:
    """What the system said about a path of this machine."""
    name, reason = str(error.filename or path), f"{error.strerror or error} (on this machine)"
    if isinstance(error, FileNotFoundError):
        return CopyNotFoundError(name, reason)
    if isinstance(error, PermissionError):
        return CopyDeniedError(name, reason)
    return CopyError(name, reason)


class _Unpacking:
    """The writing of one archive."""

    def __init__(self, local: Path, reader: _Reader) -> None:
        self._local = local
        self._reader = reader
        self._root: list[str] | None = None
        self._links: list[tuple[Path, str]] = []
        self._folders: dict[Path, tarfile.TarInfo] = {}

    def all(self, archive: tarfile.TarFile) -> None:
        for member in archive:
            path = self._place(member.name)
            if member.isdir():
                self._make_folder(path)
                self._folders[path] = member
            elif member.isreg():
                self._write(path, member, archive)
            elif member.islnk():
                first = self._place(member.linkname)
                if first.is_symlink() or not first.is_file():
                    raise self._error(f"'{member.name}' is a hard link to no file in it")
                if first != path:
                    self._clear(path)
                    os.link(first, path)
            elif member.issym():
                self._clear(path)
                self._links.append((path, member.linkname))
        # Links come last: nothing is ever written through one. Modes too: a folder may be
        # read-only.
        for path, target in self._links:
            self._clear(path)
            path.symlink_to(target)
        for path, member in reversed(list(self._folders.items())):
            self._finish_folder(path, member)

    def _place(self, name: str) -> Path:
        """Where a name of the archive belongs; all folders above are folders and no links."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if self._root is None:
            self._root = parts
        depth = len(self._root)
        if ".." in parts or parts[:depth] != self._root:
            raise self._error(f"it names a path outside itself: '{name}'")
        path = self._local
        for part in parts[depth:]:
            self._make_folder(path)
            path = path / part
        return path

    def _make_folder(self, path: Path) -> None:
        if path.is_symlink():
            path.unlink()  # of an earlier copy: what is below it may be anywhere
        if not path.exists():
            path.mkdir()
        elif not path.is_dir():
            raise self._error(f"a file is in the way at '{path}'")
        elif path not in self._folders:
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & 0o700 != 0o700:
                path.chmod(mode | 0o700)  # of an earlier copy of a read-only folder

    def _write(self, path: Path, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        self._clear(path)
        with path.open("xb", buffering=0) as file:
            if member.issparse():
                source = archive.extractfile(member)
                assert source is not None
                shutil.copyfileobj(source, file, _CHUNK)
            else:
                # Past tarfile, which would copy each byte five times on its way.
                for piece in self._reader.pieces(member.size):
                    _write_all(file, piece)
                if self._reader.tell() != member.offset_data + member.size:
                    raise tarfile.ReadError("unexpected end of data")
            os.fchmod(file.fileno(), member.mode & 0o7777)
            os.utime(file.fileno(), (member.mtime, member.mtime))

    def _clear(self, path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            raise self._error(f"a folder is in the way at '{path}'")
        if path.is_symlink() or path.exists():
            path.unlink()

    def _finish_folder(self, path: Path, member: tarfile.TarInfo) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        try:
            folder = os.open(path, flags)
        except (FileNotFoundError, NotADirectoryError):
            return  # a later entry of the same name took its place
        try:
            os.utime(folder, (member.mtime, member.mtime))
            os.fchmod(folder, member.mode & 0o7777)
        finally:
            os.close(folder)

    def _error(self, reason: str) -> CopyError:
        return CopyError(str(self._local), f"the container's archive does not fit: {reason}")


def _write_all(file: io.RawIOBase, data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]


class _Reader:
    """What `tarfile` needs of a file, over an iterable of chunks: it only ever goes forward, but
    for one byte, which it reads to see that what it passed over was there."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks: Iterator[bytes] = iter(chunks)
        self._left = memoryview(b"")
        self._position = 0
        self._last = memoryview(b"")
        self._again = memoryview(b"")
        self._tail = b""

    def pieces(self, size: int) -> Iterator[memoryview]:
        """The next bytes, uncopied; fewer where the stream ends."""
        while size > 0:
            if self._again:
                piece, self._again = self._again, memoryview(b"")
            else:
                if not self._left:
                    chunk = next(self._chunks, b"")
                    if not chunk:
                        return
                    self._left = memoryview(chunk)
                    self._tail = (self._tail + chunk[-len(_END) :])[-len(_END) :]
                piece, self._left = self._left[:size], self._left[size:]
            size -= len(piece)
            self._position += len(piece)
            self._last = piece[-1:]
            yield piece

    def read(self, size: int) -> bytes:
        """As a file's."""
        return b"".join(self.pieces(size))

    def tell(self) -> int:
        """As a file's."""
        return self._position

    def seek(self, position: int) -> None:
        """As a file's, as far as `tarfile` needs it."""
        if position >= self._position:
            for _ in self.pieces(position - self._position):
                pass
        elif position == self._position - 1 and not self._again:
            self._again = self._last
            self._position = position
        else:
            raise tarfile.ReadError("it leads back into itself")

    def expect_end(self) -> None:
        """Read what is left, and see that the archive came whole: tarfile takes an archive cut off
        between two entries for a whole one."""
        while self.read(_CHUNK):
            pass
        if self._tail != _END:
            raise tarfile.ReadError("its end is missing")
