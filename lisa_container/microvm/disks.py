"""Disks of VMs: layers in QEMU's own format (qcow2)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from lisa_container.errors import VmError
from lisa_container.microvm.machine.qemu import find_program


def create_disk(disk: Path, base: Path, kind: str, size: int | None = None) -> None:
    """Create an empty disk layer on another disk.

    Args:
        disk: file to create.
        base: the other disk, which is only read.
        kind: its format, "raw" or "qcow2".
        size: size in bytes; needed if the other disk does not exist yet.

    Raises:
        VmError: qemu-img failed.
    """
    words = ["create", "-q", "-f", "qcow2", "-b", str(base), "-F", kind]
    run_qemu_img(*words, *(["-u", str(disk), str(size)] if size is not None else [str(disk)]))


def create_empty_disk(disk: Path, size: int) -> None:
    """Create a disk without content.

    Args:
        disk: file to create.
        size: size in bytes.

    Raises:
        VmError: qemu-img failed.
    """
    run_qemu_img("create", "-q", "-f", "qcow2", str(disk), str(size))


def create_data_disks(folder: Path, sizes_gib: Iterable[int]) -> tuple[Path, ...]:
    """Create empty disks, and return their files. They take space as they are written to.

    Args:
        folder: folder of the files.
        sizes_gib: size of each disk in GiB.

    Raises:
        VmError: qemu-img failed.
    """
    disks = []
    for number, size in enumerate(sizes_gib):
        disk = folder / f"data{number}.qcow2"
        create_empty_disk(disk, size << 30)
        disks.append(disk)
    return tuple(disks)


def run_qemu_img(*words: str) -> str:
    """Run qemu-img and return what it prints.

    Args:
        words: its arguments.

    Raises:
        VmError: it failed.
    """
    command = [find_program("qemu-img"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise VmError(f"qemu-img {words[0]} failed: {done.stderr.strip()}")
    return done.stdout
