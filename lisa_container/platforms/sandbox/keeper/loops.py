"""Loop devices that a node attached with `losetup` and left behind.

Loop devices belong to the machine and outlive the node. A device of `mount -o loop` is detached
with its mount, so with the node.
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
        folder: folder whose files are no longer in use.
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
    """Return the loop devices in use, by inode and name of their backing files.

    The file system is not part of the key: for a file in an overlay, it would be the overlay, which
    is gone. The inode is that of the underlying file.
    """
    result = {}
    for block in Path("/sys/block").glob("loop*/loop"):
        device = Path("/dev", block.parent.name)
        # The device may have been detached in the meantime.
        with suppress(OSError), device.open("rb") as file:
            name = (block / "backing_file").read_text(encoding="utf-8").rstrip("\n")
            status = fcntl.ioctl(file, _GET_STATUS64, bytes(_STATUS64_SIZE))
            _, inode = struct.unpack_from("QQ", status)
            result[inode, Path(name).name] = device
    return result


def _clear(device: Path) -> None:
    with suppress(OSError), device.open("rb") as file:
        fcntl.ioctl(file, _CLEAR)
