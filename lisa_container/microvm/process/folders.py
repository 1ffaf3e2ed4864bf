"""Folders of running virtual machines, which no killed process leaves behind.

A VM's keeper and its QEMU hold a lock on the VM's folder for as long as they run. A folder without
a lock is one of a killed keeper, and the next VM removes it.
"""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from lisa_container.locks import locked, try_lock


@dataclass(frozen=True)
class VmFolder:
    """Folder of one VM.

    Attributes:
        path: the folder.
        lock: descriptor that holds the lock; processes that inherit it hold the lock too.
    """

    path: Path
    lock: int

    def remove(self) -> None:
        """Remove the folder of a VM that did not start."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


def create_folder(root: Path) -> VmFolder:
    """Create and lock a new folder, after removing those of killed keepers.

    Args:
        root: folder of all VMs' folders; it is created for this user only.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(root):
        sweep = [(path, lock) for path in root.iterdir() if (lock := try_lock(path)) is not None]
        path = root / secrets.token_hex(4)
        path.mkdir(mode=0o700)
        lock = try_lock(path)
    assert lock is not None, "no other process knows this folder yet"
    for dead, dead_lock in sweep:
        shutil.rmtree(dead, ignore_errors=True)
        os.close(dead_lock)
    return VmFolder(path, lock)
