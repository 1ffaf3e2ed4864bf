"""Accelerator of virtual machines: KVM if a guest really runs with it, else QEMU's translator.

The presence of `/dev/kvm` says little: on some machines it opens, and then the first guest hangs.
So a guest of a few instructions is run once per process. A failure takes seconds, and is remembered
for a while.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from contextlib import suppress
from enum import Enum
from functools import cache
from pathlib import Path

from lisa_container.atomic import replace_file
from lisa_container.microvm.machine.qemu import find_qemu
from lisa_container.microvm.places import Places
from lisa_container.system import boot_id

_KVM = "/dev/kvm"
# The level x86-64-v2, which distributions need, and random numbers. Programs use what a processor
# has, and wide vectors and deep page tables are slow to translate: with `-cpu max`, a login takes
# twice the processor time.
_TCG_CPU = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16,+lahf-lm,+aes,+pclmulqdq,+rdrand"
_TRIAL_SECONDS = 2.0
_KILL_SECONDS = 1.0
# A machine may only have been too busy for the trial.
_REMEMBER_SECONDS = 1800
# Firmware of 64 KiB, mapped at 0xf0000 and below 4 GiB. Broken nested virtualization often runs
# real mode (in an emulator) and hangs later, so the trial goes on to 64-bit mode with paging.
_SIZE = 0x10000
_PROGRAM = bytes.fromhex(
    # 16 bits: cli; lgdt [gdt pointer]; cr0 = protected mode; far jump to the next part
    "fa 2e660f0116b800 66b811000000 0f22c0 66ea19000f000800"
    # 32 bits: data segments; clear three pages at 0x1000
    "b810000000 8ed8 8ec0 8ed0 bf00100000 31c0 b9000c0000 fc f3ab"
    # Page tables: the first 2 MiB map to themselves
    "c7050010000003200000 c7050020000003300000 c7050030000083000000"
    # cr3 = tables; cr4 = physical address extension; long mode enabled; cr0 = paging
    "b800100000 0f22d8 b820000000 0f22e0 b9800000c0 0f32 0d00010000 0f30 b811000080 0f22c0"
    # Far jump to 64 bits: write a thousand words; out 0xf4, 0x10; hlt for ever
    "ea7e000f001800 b9e8030000 48890ccd00800000 e2f6 66baf400 b010 ee f4 ebfd"
).ljust(0x98, b"\x90")
# Flat segments: none, code of 32 bits, data, code of 64 bits; then the pointer to them.
_SEGMENTS = bytes.fromhex(
    "0000000000000000 ffff0000009acf00 ffff00000092cf00 ffff0000009aaf00 1f0098000f00"
)
# The processor starts 16 bytes before the end: a jump to the program.
_RESET = bytes.fromhex("ea000000f0").ljust(16, b"\0")
_FIRMWARE = (_PROGRAM + _SEGMENTS).ljust(_SIZE - len(_RESET), b"\0") + _RESET
# QEMU's device at port 0xf4 ends it with 2 * value + 1.
_EXIT_CODE = 2 * 0x10 + 1


class Accelerator(str, Enum):
    """How the guest's instructions run.

    KVM: by the processor, at nearly its full speed.
    TCG: translated by QEMU, 5 to 20 times slower; needs nothing of the machine.
    """

    KVM = "kvm"
    TCG = "tcg"

    @property
    def patience(self) -> float:
        """Factor for time limits, 1 for a guest at full speed."""
        # Beside other work, a machine with two slow processors needed over 240 s to boot an engine.
        return 1.0 if self is Accelerator.KVM else 12.0

    @property
    def arguments(self) -> list[str]:
        """Arguments of QEMU."""
        if self is Accelerator.KVM:
            return ["-accel", "kvm", "-cpu", "host"]
        # One thread per processor of the guest.
        return ["-accel", "tcg,thread=multi", "-cpu", _TCG_CPU]

    @property
    def kernel_options(self) -> str:
        """Options for the guest's kernel."""
        # Each jump of the kernel would be translated as a detour: a boot takes half as long again.
        return "mitigations=off" if self is Accelerator.TCG else ""


@cache
def find_accelerator() -> Accelerator:
    """Return the best accelerator that works on this machine; tried once per process.

    For half an hour after KVM failed, processes of this user do not try KVM again.

    Raises:
        VmMachineError: there is no QEMU.
    """
    if not os.access(_KVM, os.R_OK | os.W_OK):
        return Accelerator.TCG
    failure = KvmFailure(Places.of("").root / "kvm-failed", find_qemu().version)
    if failure.is_known():
        return Accelerator.TCG
    if runs_guest(Accelerator.KVM):
        return Accelerator.KVM
    failure.remember()
    return Accelerator.TCG


class KvmFailure:
    """Failed trial of KVM, which other processes need not repeat.

    Args:
        file: file that remembers the failure.
        version: version of QEMU; with another one, KVM is tried again.
    """

    def __init__(self, file: Path, version: str) -> None:
        """Read nothing yet."""
        self._file = file
        self._key = f"{boot_id()} {version}\n"

    def is_known(self) -> bool:
        """Return whether KVM failed within half an hour, in this boot, with this QEMU."""
        try:
            age = time.time() - self._file.stat().st_mtime
            return 0 <= age < _REMEMBER_SECONDS and self._file.read_text("utf-8") == self._key
        except OSError:
            return False

    def remember(self) -> None:
        """Remember a failure of now. Without a folder that can be written to, do nothing."""
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._file, [self._key.encode()])


def runs_guest(accelerator: Accelerator, seconds: float = _TRIAL_SECONDS) -> bool:
    """Return whether a tiny guest runs to its end.

    Args:
        accelerator: the accelerator to try.
        seconds: time limit of the trial.
    """
    with tempfile.TemporaryDirectory(prefix="lisa_container_trial_") as folder:
        firmware = Path(folder, "firmware")
        firmware.write_bytes(_FIRMWARE)
        process = subprocess.Popen(
            [
                find_qemu().path,
                *("-machine", "q35", "-nodefaults", "-no-user-config", "-display", "none"),
                *accelerator.arguments,
                *("-m", "1", "-bios", str(firmware)),
                *("-device", "isa-debug-exit,iobase=0xf4,iosize=1"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(seconds) == _EXIT_CODE
        except subprocess.TimeoutExpired:
            process.kill()
            # A hanging kernel may keep it for a while; it ends by itself then.
            with suppress(subprocess.TimeoutExpired):
                process.wait(_KILL_SECONDS)
            return False
