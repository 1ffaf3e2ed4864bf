"""Memory of a frozen VM as an ELF core, which `drgn` and `crash` open."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path

from lisa_container.errors import VmError, VmSpaceError
from lisa_container.microvm.frozen.elf import add_vmcoreinfo
from lisa_container.microvm.frozen.record import FrozenVm
from lisa_container.microvm.frozen.thaw import ThawedVm

# Seconds at full speed for QEMU to write a GiB.
_SECONDS = 60.0
_MIB = 1 << 20


def write_core(frozen: FrozenVm, target: Path) -> str:
    """Write the memory of a frozen VM; the VM's image is not needed for this.

    Args:
        frozen: the frozen VM.
        target: file to create, for this user only. Pages of zeros take no space in it.

    Returns:
        The kernel's version by its VMCOREINFO; empty if it has none, so that debuggers cannot find
        their way in the core.

    Raises:
        FileExistsError: the file exists.
        VmFrozenError: the frozen VM is damaged, or this machine lacks what it needs.
        VmSpaceError: there is too little room.
        VmError: QEMU did not write its memory.
    """
    if target.exists():
        raise FileExistsError(17, "it exists; give another one with --output", str(target))
    with ThawedVm(frozen, with_disks=False) as vm:
        raw = vm.guest.process.folder / "core"
        for folder in {raw.parent, target.absolute().parent}:
            if shutil.disk_usage(folder).free < frozen.memory_mib * _MIB:
                raise VmSpaceError(
                    f"'{folder}' has less room than the {frozen.memory_mib} MiB of the VM's memory"
                )
        seconds = _SECONDS * max(1, frozen.memory_mib / 1024)
        arguments = {"paging": False, "protocol": f"file:{raw}"}
        vm.guest.monitor("dump-guest-memory", seconds=seconds, **arguments)
        version = add_vmcoreinfo(raw)
        partial = target.parent / f".{target.name}.{secrets.token_hex(4)}"
        try:
            os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            command = ["cp", "--sparse=always", str(raw), str(partial)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise VmError(f"'{target}' could not be written: {done.stderr.strip()}")
            partial.rename(target)
        finally:
            partial.unlink(missing_ok=True)
    return version
