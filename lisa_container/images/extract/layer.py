"""Applying a layer to the layers below: https://github.com/opencontainers/image-spec, layer.md."""

from __future__ import annotations

import posixpath

from lisa_container.archives import tar
from lisa_container.images.extract.budget import Budget
from lisa_container.images.extract.faults import Fault, Unsafe, quote
from lisa_container.images.extract.rootfs import Parts, Rootfs
from lisa_container.images.media import OPAQUE, WHITEOUT

# PATH_MAX of Linux, and far more folders than any real image has.
_LONGEST_PATH = 4096
_MOST_PARTS = 256

_WHITEOUT = WHITEOUT.encode()
_OPAQUE = OPAQUE.encode()
# Prefix of aufs's own files, which Docker ignores.
_OF_AUFS = _WHITEOUT + _WHITEOUT


def apply_layer(rootfs: Rootfs, reader: tar.TarReader, budget: Budget) -> None:
    """Apply all entries of a layer.

    A whiteout hides content of the layers below, and none of its own layer, wherever in the layer
    it stands.

    Raises:
        Unsafe: an entry leads outside.
        TooMuch: the entries exceed the limit.
        Fault: the layer is malformed.
    """
    rootfs.begin_layer()
    for entry in reader:
        budget.count_entry()
        parts = check_path(entry.name)
        name = parts[-1] if parts else b""
        if name == _OPAQUE:
            rootfs.hide_below(parts[:-1])
        elif any(part.startswith(_OF_AUFS) for part in parts):
            continue
        elif name.startswith(_WHITEOUT):
            hidden = name[len(_WHITEOUT) :]
            if hidden in (b"", b".", b".."):
                raise Unsafe(f"{quote(entry.name)} is a whiteout of its own or the parent folder")
            rootfs.hide((*parts[:-1], hidden))
        else:
            link: Parts = ()
            if entry.kind == tar.LINK:
                link = check_path(entry.link, f"the hard link {quote(entry.name)} to ")
            budget.count_bytes(entry.holes)
            rootfs.make(parts, entry, reader.parts(), link)


def check_path(path: bytes, what: str = "") -> Parts:
    """Check a path of an archive and return its parts; the root has none.

    Args:
        path: the path as the archive has it.
        what: text in front of the path in messages.

    Raises:
        Unsafe: the path leads outside.
        Fault: the path is too long or too deep.
    """
    # As engines do, an absolute path begins at the root file system, and `a/../b` is `b`.
    normal = posixpath.normpath(path).lstrip(b"/") if path else b""
    parts = tuple(part for part in normal.split(b"/") if part not in (b"", b"."))
    if b".." in parts:
        raise Unsafe(f"{what}{quote(path)} leads outside of the root file system by '..'")
    if len(path) > _LONGEST_PATH or len(parts) > _MOST_PARTS:
        raise Fault(
            f"{what}{quote(path)} is too long; legal: {_LONGEST_PATH} bytes, {_MOST_PARTS} folders"
        )
    return parts
