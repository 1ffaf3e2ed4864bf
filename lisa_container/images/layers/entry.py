"""`LayerEntry`: a path of a layer with all its attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from lisa_container.config.checks import illegal
from lisa_container.errors import ConfigError

# Limits of the kernel: MINORBITS in linux/kdev_t.h.
_MOST_MAJOR = 2**12 - 1
_MOST_MINOR = 2**20 - 1
# Limit of Go's tar header and of the kernel for a user's or group's id.
_LARGEST_ID = 2**32 - 2
_MODES = 0o7777


class EntryKind(str, Enum):
    """Kind of a layer's entry.

    - `file`, `folder`, `symlink`, `fifo`: as `ls -l` shows them.
    - `hard link`: another name of a file of the same layer.
    - `character device`, `block device`: with the numbers of the device.
    - `whiteout`: hides this path of the layers below.
    - `opaque`: a folder that hides the content of the same folder in the layers below.
    """

    FILE = "file"
    FOLDER = "folder"
    SYMLINK = "symlink"
    HARD_LINK = "hard link"
    CHARACTER = "character device"
    BLOCK = "block device"
    FIFO = "fifo"
    WHITEOUT = "whiteout"
    OPAQUE = "opaque"


@dataclass(frozen=True)
class LayerEntry:
    """Path of a layer with all its attributes.

        LayerEntry(b"…", mode=0o4755)             a file
        LayerEntry(Path("tool"), uid=1000)        a file, or folder, of this machine
        LayerEntry.symlink("busybox")
        LayerEntry.device("c", 1, 3)

    Args:
        content: content of a file: bytes, or a path on this machine, which is read in pieces when
            the image is saved or sent.
        mode: permission bits; None for the rule of `image_from_layers`.
        uid: id of the owner.
        gid: id of the group.
        mtime: seconds since 1970. 0 by default, so that the same input gives the same image.
        xattrs: extended attributes, such as `{"security.capability": b"…"}`.
        kind: kind of the entry; the class methods below set it.
        target: target of a link.
        numbers: major and minor number of a device.

    Raises:
        ConfigError: a value is wrong, or this kind of entry cannot have it.
    """

    content: bytes | Path = b""
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    mtime: float = 0
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    kind: EntryKind = EntryKind.FILE
    target: str = ""
    numbers: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        """Check all fields."""
        if not isinstance(self.content, (bytes, Path)):
            raise wrong_content("content", self.content)
        if self.content != b"" and self.kind is not EntryKind.FILE:
            raise ConfigError(f"a {self.kind.value} has no content")
        _check_number("mode", self.mode or 0, _MODES)
        _check_number("uid", self.uid, _LARGEST_ID)
        _check_number("gid", self.gid, _LARGEST_ID)
        if isinstance(self.mtime, bool) or not isinstance(self.mtime, (int, float)):
            raise illegal("mtime", self.mtime, "a number of seconds since 1970")
        for name, value in self.xattrs.items():
            is_name = isinstance(name, str) and "." in name and not set("=\0") & set(name)
            if not is_name or not isinstance(value, bytes):
                raise illegal(
                    f"xattrs, {name!r}", value, "names with a namespace ('user.x'), to bytes"
                )
        is_link = self.kind in (EntryKind.SYMLINK, EntryKind.HARD_LINK)
        if is_link and (not isinstance(self.target, str) or not self.target or "\0" in self.target):
            raise illegal("target", self.target, f"the path that the {self.kind.value} points to")
        if not is_link and self.target:
            raise ConfigError(f"target: given {self.target!r}; legal: none for a {self.kind.value}")
        major, minor = self.numbers
        _check_number("major number", major, _MOST_MAJOR)
        _check_number("minor number", minor, _MOST_MINOR)

    @classmethod
    def folder(cls, mode: int | None = None, uid: int = 0, gid: int = 0) -> LayerEntry:
        """Make a folder. Folders above an entry are made in any case, with mode 755."""
        return cls(mode=mode, uid=uid, gid=gid, kind=EntryKind.FOLDER)

    @classmethod
    def symlink(cls, target: str) -> LayerEntry:
        """Make a symbolic link."""
        return cls(target=target, kind=EntryKind.SYMLINK)

    @classmethod
    def hard_link(cls, target: str) -> LayerEntry:
        """Make another name of the file `target` (its path in the image) of the same layer."""
        return cls(target=target, kind=EntryKind.HARD_LINK)

    @classmethod
    def device(cls, kind: str, major: int, minor: int, mode: int | None = None) -> LayerEntry:
        """Make a device; its kind is `c` (character) or `b` (block)."""
        kinds = {"c": EntryKind.CHARACTER, "b": EntryKind.BLOCK}
        if kind not in kinds:
            raise illegal("kind of a device", kind, "'c' (character) or 'b' (block)")
        return cls(mode=mode, kind=kinds[kind], numbers=(major, minor))

    @classmethod
    def fifo(cls, mode: int | None = None) -> LayerEntry:
        """Make a named pipe."""
        return cls(mode=mode, kind=EntryKind.FIFO)

    @classmethod
    def whiteout(cls) -> LayerEntry:
        """Make an entry that hides this path of the layers below."""
        return cls(kind=EntryKind.WHITEOUT)

    @classmethod
    def opaque(cls, mode: int | None = None, uid: int = 0, gid: int = 0) -> LayerEntry:
        """Make a folder without the content that the layers below have in it."""
        return cls(mode=mode, uid=uid, gid=gid, kind=EntryKind.OPAQUE)

    @property
    def is_folder(self) -> bool:
        """Whether other entries can be below this one."""
        return self.kind in (EntryKind.FOLDER, EntryKind.OPAQUE)


def wrong_content(field: str, given: Any) -> ConfigError:
    """Return the error for a content of the wrong type."""
    legal = "bytes, a pathlib.Path on this machine, or a LayerEntry"
    if isinstance(given, str):
        # A text may be content or a path. A wrong guess would go unnoticed, so refuse it.
        return illegal(field, given[:80], legal, "text as bytes: text.encode(); a path: Path(text)")
    return ConfigError(f"{field}: given a {type(given).__name__}; legal: {legal}")


def _check_number(field: str, given: Any, most: int) -> None:
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= most:
        raise illegal(field, given, f"a whole number from 0 to {most} (0o{most:o})")
