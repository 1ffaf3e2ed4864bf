"""Disks of virtual machines, made by QEMU's own tool."""

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
        size: size in bytes; None means that of the other disk, which must exist then.

    Raises:
        VmError: qemu-img failed.
    """
    arguments = ["-b", str(base), "-F", kind]
    _create(disk, [*arguments, "-u"] if size is not None else arguments, size)


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
        _create(disk, [], size << 30)
        disks.append(disk)
    return tuple(disks)


def _create(disk: Path, arguments: list[str], size: int | None) -> None:
    command = [find_program("qemu-img"), "create", "-q", "-f", "qcow2", *arguments, str(disk)]
    command += [str(size)] if size is not None else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise VmError(f"disk '{disk}' could not be created: {done.stderr.strip()}")
