"""Loop devices that a node left behind: they are the machine's, and outlive whoever attached them.

(One that `mount -o loop` attached goes with its mount, so with the node; this is about `losetup`.)
"""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress
from pathlib import Path

# linux/loop.h
_CLEAR = 0x4C01
_GET_STATUS64 = 0x4C05
_STATUS64_SIZE = 232


def detach(folder: Path) -> None:
    """Detach every loop device whose file is below a folder.

    Args:
        folder: where to look; nobody uses what is in it any more.
    """
    attached = _attached()
    if not attached:
        return
    for path, _, names in os.walk(folder):
        for name in names:
            inode = os.lstat(os.path.join(path, name)).st_ino  # noqa: PTH118 - for every file
            device = attached.get((inode, name))
            if device:
                _clear(device)


def _attached() -> dict[tuple[int, str], Path]:
    """The loop devices in use, by their files' inodes and names.

    Not by the file system too: for a file in an overlay that is the overlay's, which is gone. The
    inode is that of the file below.
    """
    found = {}
    for block in Path("/sys/block").glob("loop*/loop"):
        device = Path("/dev", block.parent.name)
        # It may be detached by now.
        with suppress(OSError), device.open("rb") as file:
            name = (block / "backing_file").read_text(encoding="utf-8").rstrip("\n")
            status = fcntl.ioctl(file, _GET_STATUS64, bytes(_STATUS64_SIZE))
            _, inode = struct.unpack_from("QQ", status)
            found[inode, Path(name).name] = device
    return found


def _clear(device: Path) -> None:
    with suppress(OSError), device.open("rb") as file:
        fcntl.ioctl(file, _CLEAR)
