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
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from lisa_container.errors import CopyError

_CHUNK = 256 * 1024


def pack(local: Path, target: PurePosixPath, uid: int = 0, gid: int = 0) -> Iterator[bytes]:
    """A tar stream of a file or folder.

    Args:
        local: what to pack; a symbolic link itself is followed, those inside a folder are kept.
        target: absolute path it will have in the container.
        uid: owner in the container.
        gid: group in the container.

    Raises:
        CopyError: it cannot be read, or changed while it was read.
    """
    yield from _pack_one(Path(os.path.realpath(local)), str(target).lstrip("/"), uid, gid)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)


def pack_bytes(entries: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """A whole tar archive of small entries made in memory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, data in entries:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def unpack(stream: Iterable[bytes], local: Path) -> None:
    """Write what a tar stream of the engine holds.

    The first entry is the file or folder itself; it gets the name `local`.

    Args:
        stream: chunks of an uncompressed tar.
        local: where to; its folder exists.

    Raises:
        CopyError: an entry points outside, or cannot be written.
    """
    links: list[tuple[Path, str]] = []
    folders: list[tuple[Path, int]] = []
    root = ""
    try:
        with tarfile.open(fileobj=cast(IO[bytes], _Reader(stream)), mode="r|") as archive:
            for member in archive:
                name = member.name.strip("/")
                root = root or name
                path = _inside(local, name, root)
                if member.isdir():
                    path.mkdir(parents=True, exist_ok=True)
                    folders.append((path, member.mode))
                elif member.isreg():
                    source = archive.extractfile(member)
                    assert source is not None
                    _remove(path)
                    with path.open("wb") as file:
                        shutil.copyfileobj(source, file, _CHUNK)
                    path.chmod(member.mode & 0o7777)
                    os.utime(path, (member.mtime, member.mtime))
                elif member.islnk():
                    _remove(path)
                    os.link(_inside(local, member.linkname.strip("/"), root), path)
                elif member.issym():
                    links.append((path, member.linkname))
    except (OSError, tarfile.TarError) as error:
        raise CopyError(str(local), str(error)) from error
    # Links last: nothing is ever written through one. Modes last: a folder may be read-only.
    for path, target in links:
        _remove(path)
        path.symlink_to(target)
    for path, mode in reversed(folders):
        path.chmod(mode & 0o7777)


def _pack_one(local: Path, name: str, uid: int, gid: int) -> Iterator[bytes]:
    try:
        status = local.lstat()
        info = tarfile.TarInfo(name)
        info.mode = stat.S_IMODE(status.st_mode)
        info.mtime = status.st_mtime
        info.uid, info.gid = uid, gid
        if stat.S_ISLNK(status.st_mode):
            info.type, info.linkname = tarfile.SYMTYPE, str(local.readlink())
        elif stat.S_ISDIR(status.st_mode):
            info.type = tarfile.DIRTYPE
        elif stat.S_ISREG(status.st_mode):
            info.size = status.st_size
        else:
            return  # sockets, pipes and devices have no content to copy
        yield info.tobuf(tarfile.PAX_FORMAT)
        if info.isreg():
            yield from _content(local, info.size)
        elif info.isdir():
            for child in sorted(local.iterdir()):
                yield from _pack_one(child, f"{name}/{child.name}", uid, gid)
    except OSError as error:
        raise CopyError(str(local), str(error)) from error


def _content(local: Path, size: int) -> Iterator[bytes]:
    left = size
    with local.open("rb") as file:
        while left:
            data = file.read(min(_CHUNK, left))
            if not data:
                raise CopyError(str(local), "it became shorter while it was copied")
            left -= len(data)
            yield data
    yield b"\0" * (-size % tarfile.BLOCKSIZE)


def _inside(local: Path, name: str, root: str) -> Path:
    relative = PurePosixPath(name).relative_to(root) if name != root else PurePosixPath()
    if relative.is_absolute() or ".." in relative.parts:
        raise CopyError(str(local), f"the archive names a path outside it: '{name}'")
    return local.joinpath(*relative.parts)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()


class _Reader:
    """What `tarfile` needs of a file, over an iterable of chunks."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks: Iterator[bytes] = iter(chunks)
        self._left = b""

    def read(self, size: int) -> bytes:
        pieces: list[Any] = []
        while size > 0:
            if not self._left:
                self._left = next(self._chunks, b"")
                if not self._left:
                    break
            pieces.append(self._left[:size])
            size -= len(pieces[-1])
            self._left = self._left[len(pieces[-1]) :]
        return b"".join(pieces)
