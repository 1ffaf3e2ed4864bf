"""Record of a frozen VM: the file that says what its folder holds and what it needs."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lisa_container.atomic import replace_file
from lisa_container.errors import VmFrozenError
from lisa_container.history.read import RecordError, read_json
from lisa_container.microvm.machine.accelerator import Accelerator, find_accelerator
from lisa_container.microvm.machine.qemu import find_qemu

RECORD = "frozen.json"
"""File of a frozen VM's folder that is written last."""

STATE, CONSOLE = "state", "console.log"
"""Files of that folder: memory and devices; the console's output until then."""

# Increase this when the content of the folder changes.
_FORMAT = 1


@dataclass(frozen=True)
class Disk:
    """Disk of a frozen VM.

    Attributes:
        size: size in bytes, as the guest sees it.
        base: file of an image on which the disk is a layer; empty means that it needs none.
        base_format: format of that file.
        base_mark: size and time of the last change of that file, to notice another one.
    """

    size: int
    base: str = ""
    base_format: str = ""
    base_mark: tuple[int, int] = (0, 0)

    def missing_base(self) -> str:
        """Return why the base cannot be used; an empty string if it can."""
        if not self.base:
            return ""
        try:
            mark = mark_of(Path(self.base))
        except OSError as error:
            return f"its image '{self.base}' is gone ({error.strerror})"
        return "" if mark == self.base_mark else f"its image '{self.base}' was changed since"


@dataclass(frozen=True)
class Origin:
    """Origin of a frozen VM: what its hardware does not tell.

    Attributes:
        case: name of the case that failed.
        vm: name of the VM.
        time: time of the failure, in ISO 8601.
        kernel: version of its kernel; empty if unknown.
        user: user who logs in with `private_key`.
        private_key: file of the private key.
        cache_dir: folder in which copies of the VM run.
        stopped: why nothing can run in it any more; empty if it can go on.
    """

    case: str
    vm: str
    time: str
    kernel: str
    user: str
    private_key: str
    cache_dir: str
    stopped: str = ""


@dataclass(frozen=True)
class FrozenVm:
    """Frozen VM in a run's folder.

    Attributes:
        folder: folder of its files.
        origin: where it comes from.
        qemu: version of the QEMU that ran it.
        accelerator: how its instructions ran.
        arguments: arguments of that QEMU. Paths in them are relative to a running VM's folder.
        memory_mib: memory in MiB.
        disks: its disks, by the names of their files.
        files: other files that the arguments name.
        nics: number of its interfaces on private networks.
        sizes: sizes in bytes of all files of the folder.
    """

    folder: Path
    origin: Origin
    qemu: str
    accelerator: Accelerator
    arguments: tuple[str, ...]
    memory_mib: int
    disks: dict[str, Disk]
    files: tuple[str, ...]
    nics: int
    sizes: dict[str, int]

    @property
    def bytes_used(self) -> int:
        """Space that its files take."""
        return sum(self.sizes.values())

    @property
    def state(self) -> Path:
        """File with memory and devices."""
        return self.folder / STATE

    def fault(self) -> str:
        """Return why its memory cannot be used on this machine; an empty string if it can.

        Raises:
            VmMachineError: this machine has no QEMU.
        """
        for name, size in self.sizes.items():
            try:
                found = (self.folder / name).stat().st_size
            except OSError as error:
                return f"its file '{name}' cannot be read ({error.strerror})"
            if found != size:
                return f"its file '{name}' has {found} bytes instead of {size}"
        version = find_qemu().version
        if version != self.qemu:
            return (
                f"it ran in QEMU {self.qemu}, and this machine has QEMU {version}, which does not"
                " read that memory; install the former"
            )
        if self.accelerator is not find_accelerator():
            return (
                f"it ran by {self.accelerator.value}, and this machine has"
                f" {find_accelerator().value}; use a machine like the one of the run"
            )
        return ""

    def disk_fault(self) -> str:
        """Return why its disks cannot be used; an empty string if they can."""
        reasons = (disk.missing_base() for disk in self.disks.values())
        return next(filter(None, reasons), "")

    def write(self, folder: Path) -> None:
        """Write the record.

        Args:
            folder: folder with the files.
        """
        content = {**asdict(self), "format": _FORMAT, "accelerator": self.accelerator.value}
        del content["folder"]
        replace_file(folder / RECORD, [json.dumps(content, indent=2).encode()])
        (folder / RECORD).chmod(0o600)


def read_frozen(folder: Path) -> FrozenVm:
    """Return the frozen VM in a folder.

    Args:
        folder: the folder.

    Raises:
        VmFrozenError: the record is damaged, of another version, or may be another user's.
    """
    try:
        # It says what QEMU is started with.
        _require_own(folder)
        found = read_json(folder / RECORD)
    except (OSError, RecordError) as error:
        raise VmFrozenError(f"frozen VM '{folder}' cannot be used: {error}") from error
    if found.get("format") != _FORMAT:
        raise VmFrozenError(
            f"frozen VM '{folder}' was written by another version of lisa_container: its format is"
            f" {found.get('format')!r}, and this version reads {_FORMAT}"
        )
    try:
        return _parse(folder, found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VmFrozenError(
            f"frozen VM '{folder}' is damaged: its {RECORD} has no legal content ({error!r})"
        ) from error


def mark_of(file: Path) -> tuple[int, int]:
    """Return size in bytes and time of the last change of a file, in nanoseconds.

    Args:
        file: the file.
    """
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _require_own(folder: Path) -> None:
    for path in (folder, folder / RECORD):
        status = path.lstat()
        is_own = status.st_uid in (0, os.geteuid())
        if not is_own or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(0, "belongs to another user, or others may write to it", path)


def _parse(folder: Path, found: dict[str, Any]) -> FrozenVm:
    disks = {
        str(name): Disk(
            int(each["size"]),
            str(each["base"]),
            str(each["base_format"]),
            (int(each["base_mark"][0]), int(each["base_mark"][1])),
        )
        for name, each in found["disks"].items()
    }
    return FrozenVm(
        folder=folder,
        origin=Origin(**{each.name: str(found["origin"][each.name]) for each in fields(Origin)}),
        qemu=str(found["qemu"]),
        accelerator=Accelerator(found["accelerator"]),
        arguments=tuple(map(str, found["arguments"])),
        memory_mib=int(found["memory_mib"]),
        disks=disks,
        files=tuple(map(str, found["files"])),
        nics=int(found["nics"]),
        sizes={str(name): int(size) for name, size in found["sizes"].items()},
    )
