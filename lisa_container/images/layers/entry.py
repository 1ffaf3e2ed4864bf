"""What a layer can hold beside plain files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from lisa_container.config.checks import illegal
from lisa_container.errors import ConfigError

# Of the kernel: MINORBITS in linux/kdev_t.h.
_MOST_MAJOR = 2**12 - 1
_MOST_MINOR = 2**20 - 1
# What a tar header of Go can hold as an id, and the kernel's own limit.
_LARGEST_ID = 2**32 - 2
_MODES = 0o7777


class EntryKind(str, Enum):
    """What an entry of a layer makes.

    - `file`, `folder`, `symlink`, `fifo`: as `ls -l` shows them.
    - `hard link`: another name of a file of the same layer.
    - `character device`, `block device`: with the numbers of the device.
    - `whiteout`: hides what the layers below have at this path.
    - `opaque`: a folder that hides all that the layers below have in it.
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
    """One path of a layer, with all its attributes.

        LayerEntry(b"…", mode=0o4755)             a file
        LayerEntry(Path("tool"), uid=1000)        a file, or folder, of this machine
        LayerEntry.symlink("busybox")
        LayerEntry.device("c", 1, 3)

    Args:
        content: of a file: bytes, or a path on this machine, which is read when it is needed, a
            piece at a time.
        mode: permission bits; None is the rule of `image_from_layers`.
        uid: owner.
        gid: group.
        mtime: seconds since 1970. 0 by default: what is made is the same each time.
        xattrs: extended attributes, such as `{"security.capability": b"…"}`.
        kind: what it is; the shortcuts below set it.
        target: where a link leads.
        numbers: major and minor number of a device.

    Raises:
        ConfigError: a value is wrong, or makes no sense for this kind.
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
            raise illegal("target", self.target, f"the path that the {self.kind.value} leads to")
        if not is_link and self.target:
            raise ConfigError(f"target: a {self.kind.value} leads nowhere; given {self.target!r}")
        major, minor = self.numbers
        _check_number("major number", major, _MOST_MAJOR)
        _check_number("minor number", minor, _MOST_MINOR)

    @classmethod
    def folder(cls, mode: int | None = None, uid: int = 0, gid: int = 0) -> LayerEntry:
        """A folder. Those above a path need not be named: they are made, mode 755."""
        return cls(mode=mode, uid=uid, gid=gid, kind=EntryKind.FOLDER)

    @classmethod
    def symlink(cls, target: str) -> LayerEntry:
        """A symbolic link."""
        return cls(target=target, kind=EntryKind.SYMLINK)

    @classmethod
    def hard_link(cls, target: str) -> LayerEntry:
        """Another name of the file `target` (its path in the image) of the same layer."""
        return cls(target=target, kind=EntryKind.HARD_LINK)

    @classmethod
    def device(cls, kind: str, major: int, minor: int, mode: int | None = None) -> LayerEntry:
        """A device; the kind is `c` (character) or `b` (block)."""
        kinds = {"c": EntryKind.CHARACTER, "b": EntryKind.BLOCK}
        if kind not in kinds:
            raise illegal("kind of a device", kind, "'c' (character) or 'b' (block)")
        return cls(mode=mode, kind=kinds[kind], numbers=(major, minor))

    @classmethod
    def fifo(cls, mode: int | None = None) -> LayerEntry:
        """A named pipe."""
        return cls(mode=mode, kind=EntryKind.FIFO)

    @classmethod
    def whiteout(cls) -> LayerEntry:
        """Nothing: what the layers below have at this path is hidden."""
        return cls(kind=EntryKind.WHITEOUT)

    @classmethod
    def opaque(cls, mode: int | None = None, uid: int = 0, gid: int = 0) -> LayerEntry:
        """A folder that has only what this layer and those above put into it."""
        return cls(mode=mode, uid=uid, gid=gid, kind=EntryKind.OPAQUE)

    @property
    def is_folder(self) -> bool:
        """Whether other entries can be below it."""
        return self.kind in (EntryKind.FOLDER, EntryKind.OPAQUE)


def wrong_content(field: str, given: Any) -> ConfigError:
    """What to say of a content that is none."""
    legal = "bytes, a pathlib.Path on this machine, or a LayerEntry"
    if isinstance(given, str):
        # Not guessed: a path that was taken for text would go unnoticed.
        return illegal(field, given[:80], legal, "text as bytes: text.encode(); a path: Path(text)")
    return ConfigError(f"{field}: given a {type(given).__name__}; legal: {legal}")


def _check_number(field: str, given: Any, most: int) -> None:
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= most:
        raise illegal(field, given, f"a whole number from 0 to {most} (0o{most:o})")
