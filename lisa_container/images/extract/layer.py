"""One layer onto those below it: https://github.com/opencontainers/image-spec, layer.md."""

from __future__ import annotations

from lisa_container.images.extract import tar
from lisa_container.images.extract.budget import Budget
from lisa_container.images.extract.faults import Fault, Unsafe, shown
from lisa_container.images.extract.rootfs import Parts, Rootfs
from lisa_container.images.media import OPAQUE, WHITEOUT

# PATH_MAX of Linux, and far more folders than any image has: what is deeper is made to hurt.
_LONGEST_PATH = 4096
_MOST_PARTS = 256

_WHITEOUT = WHITEOUT.encode()
_OPAQUE = OPAQUE.encode()
# What aufs kept for itself: Docker passes over it.
_OF_AUFS = _WHITEOUT + _WHITEOUT


def apply_layer(rootfs: Rootfs, reader: tar.TarReader, budget: Budget) -> None:
    """Apply all entries of a layer. A whiteout hides what the layers below have, and nothing of its
    own layer, wherever in that it stands.

    Raises:
        Unsafe: an entry reaches outside.
        TooMuch: there are too many entries.
        Fault: the layer is malformed.
    """
    rootfs.begin_layer()
    for entry in reader:
        budget.count_entry()
        parts = checked_parts(entry.name)
        name = parts[-1] if parts else b""
        if name == _OPAQUE:
            rootfs.hide_below(parts[:-1])
        elif any(part.startswith(_OF_AUFS) for part in parts):
            continue
        elif name.startswith(_WHITEOUT):
            hidden = name[len(_WHITEOUT) :]
            if hidden in (b"", b".", b".."):
                raise Unsafe(f"{shown(entry.name)} would hide a folder that is not its own")
            rootfs.hide((*parts[:-1], hidden))
        else:
            link: Parts = ()
            if entry.kind == tar.LINK:
                link = checked_parts(entry.link, f"the hard link {shown(entry.name)} to ")
            rootfs.make(parts, entry, reader.content(), link)


def checked_parts(path: bytes, what: str = "") -> Parts:
    """A path of an archive as its parts; of the root, none.

    Args:
        path: as it stands there.
        what: for messages, in front of the path.

    Raises:
        Unsafe: it leads outside.
        Fault: it is too long or too deep.
    """
    parts = tuple(part for part in path.split(b"/") if part not in (b"", b"."))
    if b".." in parts:
        raise Unsafe(f"{what}{shown(path)} has '..' in its path")
    if path.startswith(b"/") and parts:  # some builders write the root itself as "/"
        raise Unsafe(f"{what}{shown(path)} is an absolute path")
    if len(path) > _LONGEST_PATH or len(parts) > _MOST_PARTS:
        raise Fault(
            f"{what}{shown(path)} is too long; legal: {_LONGEST_PATH} bytes, {_MOST_PARTS} folders"
        )
    return parts
