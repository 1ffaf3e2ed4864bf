"""Ways in which a VM boots: a kernel that QEMU loads, or firmware and the disk's boot loader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lisa_container.microvm.machine.quoting import quote


class Boot(Protocol):
    """Way in which a VM boots."""

    def arguments(self) -> Sequence[str]:
        """Return the arguments of QEMU."""


@dataclass(frozen=True)
class KernelBoot:
    """Boot of a kernel without firmware and boot loader.

    Attributes:
        kernel: kernel to boot.
        initrd: initial RAM disk; None means none.
        options: command line of the kernel.
    """

    kernel: Path
    initrd: Path | None
    options: str

    def arguments(self) -> Sequence[str]:
        """Return the arguments of QEMU."""
        initrd = ("-initrd", str(self.initrd)) if self.initrd else ()
        return ["-kernel", str(self.kernel), *initrd, "-append", self.options]


@dataclass(frozen=True)
class BiosBoot:
    """Boot of the first disk by QEMU's own BIOS."""

    def arguments(self) -> Sequence[str]:
        """Return the arguments of QEMU, whose default this is."""
        return []


@dataclass(frozen=True)
class UefiBoot:
    """Boot of the first disk by UEFI firmware.

    Attributes:
        code: the firmware, which is only read.
        variables: file for the firmware's variables, which belongs to the VM.
    """

    code: Path
    variables: Path

    def arguments(self) -> Sequence[str]:
        """Return the arguments of QEMU."""
        flash = "if=pflash,format=raw"
        return [
            *("-drive", f"{flash},unit=0,readonly=on,file={quote(self.code)}"),
            *("-drive", f"{flash},unit=1,file={quote(self.variables)}"),
        ]
