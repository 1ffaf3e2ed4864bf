"""Writing of a frozen VM: its memory, its disk, and a copy of each file that its QEMU needs."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from lisa_container.errors import VmSpaceError
from lisa_container.locks import try_lock
from lisa_container.microvm.disks import run_qemu_img
from lisa_container.microvm.frozen.record import (
    CONSOLE,
    STATE,
    Disk,
    FrozenVm,
    Origin,
    mark_of,
)
from lisa_container.microvm.guest import Guest
from lisa_container.microvm.machine.command_line import Hardware, Memory
from lisa_container.microvm.machine.qemu import find_qemu
from lisa_container.microvm.state import save_state

UNFINISHED = ".unfinished"
"""Ending of the name of a folder that is being written, or was when its writer was killed."""

_SEED = "seed"
# Seconds at full speed for QEMU to write its memory.
_SAVE_SECONDS = 60.0
_MIB, _BLOCK = 1 << 20, 512


def save(guest: Guest, hardware: Hardware, origin: Origin, final: Path, limit: int) -> FrozenVm:
    """Write a VM whose processors are stopped into a folder.

    Args:
        guest: the VM.
        hardware: its hardware.
        origin: where it comes from.
        final: folder to create.
        limit: most bytes to write.

    Raises:
        VmSpaceError: there is less room than that; nothing stays behind.
        VmError: QEMU did not write the VM.
        OSError: a file cannot be written.
    """
    if limit <= 0:
        raise VmSpaceError("there is no room left")
    final.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = final.with_name(f".{final.name}{UNFINISHED}")
    folder.mkdir(mode=0o700)
    lock = try_lock(folder)
    try:
        portable, files, disks = _portable(hardware)
        for name, source in {**files, CONSOLE: hardware.console}.items():
            _create(folder / name)
            shutil.copyfile(source, folder / name)
        room = limit - _bytes_of(folder)
        most = hardware.memory.mib * _MIB + sum(_space_of(disk) for disk in disks.values())
        if shutil.disk_usage(folder).free < min(most, room):
            raise VmSpaceError(f"there are less than {most // _MIB} MiB free for it in '{folder}'")
        _create(folder / STATE)
        seconds = _SAVE_SECONDS * hardware.accelerator.patience
        save_state(guest, folder / STATE, with_memory=True, seconds=seconds, limit=max(0, room))
        # QEMU has written and released its disks for the one that would go on elsewhere.
        saved = {name: _save_disk(disk, folder / name) for name, disk in disks.items()}
        if _bytes_of(folder) > limit:
            raise VmSpaceError(f"it takes more than the {limit // _MIB} MiB that are left")
        frozen = FrozenVm(
            folder=final,
            origin=origin,
            qemu=find_qemu().version,
            accelerator=hardware.accelerator,
            arguments=tuple(portable.arguments()),
            memory_mib=hardware.memory.mib,
            disks=saved,
            files=tuple(files),
            nics=len(hardware.nics),
            sizes={path.name: path.stat().st_size for path in sorted(folder.iterdir())},
        )
        frozen.write(folder)
        folder.rename(final)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)
    return frozen


def sweep(folder: Path) -> None:
    """Remove what killed writers have left.

    Args:
        folder: folder of frozen VMs; it may be missing.
    """
    for path in folder.glob(f".*{UNFINISHED}"):
        lock = try_lock(path)
        if lock is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def _portable(hardware: Hardware) -> tuple[Hardware, dict[str, Path], dict[str, Path]]:
    """Return the hardware with relative paths, waiting for the state; its files; and its disks."""
    boot: Any = hardware.boot
    files = {each.name: getattr(boot, each.name) for each in fields(boot)}
    files = {name: file for name, file in files.items() if isinstance(file, Path)}
    disks = {disk.name: disk for disk in hardware.drives.values()}
    portable = replace(
        hardware,
        memory=Memory(hardware.memory.mib),
        boot=replace(boot, **{name: Path(name) for name in files}),
        disk=Path(hardware.disk.name),
        data_disks=tuple(Path(disk.name) for disk in hardware.data_disks),
        seed=Path(_SEED) if hardware.seed else None,
        console=Path(CONSOLE),
        port=0,
        is_incoming=True,
    )
    if hardware.seed is not None:
        files[_SEED] = hardware.seed
    return portable, files, disks


def _save_disk(disk: Path, target: Path) -> Disk:
    """Write a disk as one layer on the image that is at the bottom of it."""
    chain = json.loads(run_qemu_img("info", "--backing-chain", "--output=json", str(disk)))
    base = chain[-1] if len(chain) > 1 else None
    _create(target)
    words = ["convert", "-O", "qcow2", "-W"]
    if base is not None:
        words += ["-B", base["filename"], "-F", base["format"]]
    run_qemu_img(*words, str(disk), str(target))
    size = int(chain[0]["virtual-size"])
    if base is None:
        return Disk(size)
    return Disk(size, base["filename"], base["format"], mark_of(Path(base["filename"])))


def _create(file: Path) -> None:
    """Create an empty file for this user only."""
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _space_of(file: Path) -> int:
    return file.stat().st_blocks * _BLOCK


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())
