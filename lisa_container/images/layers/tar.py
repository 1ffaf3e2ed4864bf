"""Writing a layer as a tar stream, with the same bytes each time."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator

from lisa_container.archives.pack import END, header_of, padding
from lisa_container.archives.tar import XATTR
from lisa_container.images.layers.content import pieces_of, size_of
from lisa_container.images.layers.entry import EntryKind, LayerEntry
from lisa_container.images.layers.plan import Item
from lisa_container.images.media import OPAQUE, WHITEOUT

_TYPES = {
    EntryKind.FILE: tarfile.REGTYPE,
    EntryKind.FOLDER: tarfile.DIRTYPE,
    EntryKind.SYMLINK: tarfile.SYMTYPE,
    EntryKind.HARD_LINK: tarfile.LNKTYPE,
    EntryKind.CHARACTER: tarfile.CHRTYPE,
    EntryKind.BLOCK: tarfile.BLKTYPE,
    EntryKind.FIFO: tarfile.FIFOTYPE,
    EntryKind.OPAQUE: tarfile.DIRTYPE,
}


def layer_stream(items: Iterable[Item]) -> Iterator[bytes]:
    """Yield the tar of a layer.

    Args:
        items: entries of the layer in their order.

    Raises:
        ImageArchiveError: a file of this machine has changed since the image was made.
    """
    for path, entry in items:
        if entry.kind is EntryKind.WHITEOUT:
            folder, _, name = path.rpartition("/")
            yield header(f"{folder}/{WHITEOUT}{name}".lstrip("/"), LayerEntry())
            continue
        size = size_of(entry.content)
        yield header(path, entry, size)
        if size:
            yield from pieces_of(entry.content, size)
            yield padding(size)
        if entry.kind is EntryKind.OPAQUE:
            yield header(f"{path}/{OPAQUE}", LayerEntry())
    yield END


def header(path: str, entry: LayerEntry, size: int = 0) -> bytes:
    """Return the header of an entry, which precedes its content in a tar.

    Args:
        path: path of the entry.
        entry: attributes of the entry, which is no whiteout.
        size: bytes of the content.
    """
    info = tarfile.TarInfo(path)
    info.type = _TYPES[entry.kind]
    info.size, info.mode, info.mtime = size, entry.mode or 0, entry.mtime
    info.uid, info.gid = entry.uid, entry.gid
    info.linkname = entry.target
    info.devmajor, info.devminor = entry.numbers
    info.pax_headers = {
        f"{XATTR}{name}": value.decode("utf-8", "surrogateescape")
        for name, value in sorted(entry.xattrs.items())
    }
    return header_of(info)
