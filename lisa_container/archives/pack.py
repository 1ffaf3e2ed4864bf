"""Tar streams made of files on this machine, chunk by chunk; `unpack` does the opposite."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lisa_container.archives.destination import local_error
from lisa_container.archives.tar import XATTR
from lisa_container.errors import CopyError

# A multiple of what one SSH packet carries leaves hardly any small packets behind.
_CHUNK = 1024 * 1024
_BLOCK = tarfile.BLOCKSIZE
_KINDS = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
}
END = b"\0" * (2 * _BLOCK)
"""Two zero blocks, the end of every tar archive."""


@dataclass
class Packing:
    """Writer of one tar stream.

    Args:
        uid: owner of every entry.
        gid: group of every entry.
        format: `tarfile.PAX_FORMAT` keeps fractions of a second. Small programs such as busybox's
            tar understand only `tarfile.GNU_FORMAT`.
        keeps_attributes: every entry has its own owner, group and extended attributes instead, as
            `tarfile.PAX_FORMAT` can hold them.
    """

    uid: int = 0
    gid: int = 0
    format: Literal[0, 1, 2] = tarfile.PAX_FORMAT
    keeps_attributes: bool = False
    _links: dict[tuple[int, int], str] = field(default_factory=dict, init=False, repr=False)

    def pack(
        self, local: Path, name: str, parents: Iterable[str] = ()
    ) -> Generator[bytes, None, None]:
        """Make a tar stream of a file or folder.

        Symbolic and hard links inside a folder stay links. Sockets are left out, since tar has no
        type for them.

        Args:
            local: file or folder to pack. If it is a symbolic link, its target is packed; a broken
                link is packed as a link.
            name: its path in the stream, relative to where the stream is unpacked.
            parents: folders to put before it, with mode 755.

        Raises:
            CopyError: it cannot be read, or became shorter while it was read.
        """
        for parent in parents:
            yield self._folder(parent)
        start = Path(os.path.realpath(local)) if local.exists() else local
        waiting: list[tuple[Path, str] | bytes] = [(start, name)]
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
                header = header_of(info, self.format)
                yield header
                if info.isreg():
                    yield from _content(path, info.size)
                elif info.isdir():
                    if self.format == tarfile.GNU_FORMAT:
                        # busybox's tar sets a folder's time first, and then changes it by adding
                        # the content. So the folder's header comes again after its content.
                        waiting.append(header)
                    children = sorted(path.iterdir(), reverse=True)
                    waiting.extend((child, f"{name}/{child.name}") for child in children)
            except OSError as error:
                raise local_error(path, error) from error
        yield END

    def _folder(self, name: str) -> bytes:
        info = self._named(name)
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        return header_of(info, self.format)

    def _named(self, name: str) -> tarfile.TarInfo:
        info = tarfile.TarInfo(name)
        info.uid, info.gid = self.uid, self.gid
        return info

    def _info(self, path: Path, name: str, status: os.stat_result) -> tarfile.TarInfo | None:
        info = self._named(name)
        if self.keeps_attributes:
            info.uid, info.gid = status.st_uid, status.st_gid
            info.pax_headers = _attributes(path)
        info.mode = stat.S_IMODE(status.st_mode)
        info.mtime = status.st_mtime if self.format == tarfile.PAX_FORMAT else int(status.st_mtime)
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return None
        info.type = kind
        if kind == tarfile.SYMTYPE:
            info.linkname = str(path.readlink())
        elif kind != tarfile.DIRTYPE:
            first = self._links.setdefault((status.st_dev, status.st_ino), name)
            if status.st_nlink > 1 and first != name:
                info.type, info.linkname = tarfile.LNKTYPE, first
            elif kind == tarfile.REGTYPE:
                info.size = status.st_size
            elif kind != tarfile.FIFOTYPE:
                info.devmajor, info.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
        return info


def _attributes(path: Path) -> dict[str, str]:
    """Return the extended attributes of a file, as headers of its entry."""
    return {
        f"{XATTR}{name}": os.fsdecode(os.getxattr(path, name, follow_symlinks=False))
        for name in sorted(os.listxattr(path, follow_symlinks=False))
    }


def _content(local: Path, size: int) -> Iterator[bytes]:
    left = size
    with local.open("rb") as file:
        while left:
            data = file.read(min(_CHUNK, left))
            if not data:
                raise CopyError(str(local), "it became shorter while it was copied")
            left -= len(data)
            yield data
    yield padding(size)


def header_of(info: tarfile.TarInfo, format_: Literal[0, 1, 2] = tarfile.PAX_FORMAT) -> bytes:
    """Return the tar header of an entry, whose name may hold any bytes.

    Args:
        info: the entry.
        format_: a format constant of `tarfile`.
    """
    return info.tobuf(format_, "utf-8", "surrogateescape")


def padding(size: int) -> bytes:
    """Return the zero bytes that follow `size` bytes of content in a tar."""
    return b"\0" * (-size % _BLOCK)


def pack_bytes(entries: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """Return a tar archive of small entries, made in memory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, data in entries:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
