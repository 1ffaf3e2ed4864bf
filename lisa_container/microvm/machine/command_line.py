"""Command line of QEMU for one VM.

The machine is `q35`. In trials its boots took as much processor time as those of `pc`, to a few
percent; `microvm` has no hotplug, and without a clock to calibrate by, kernels stop early in TCG.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from lisa_container.microvm.machine.accelerator import Accelerator
from lisa_container.microvm.machine.boot import Boot, KernelBoot
from lisa_container.microvm.machine.quoting import quote

MACHINE = "q35"
"""Machine type of all VMs."""

HOST_ADDRESS = "127.0.0.1"
"""Address of this machine that leads to the VMs, each at its own port."""

_SSH_PORT = 22


@dataclass(frozen=True)
class Memory:
    """Memory of a VM.

    Attributes:
        mib: size in MiB.
        file: file that holds it; None means anonymous memory.
        is_shared: whether the guest's writes change the file, and other processes can have the
            memory. Otherwise the VM keeps its own copy of each page that it changes.
    """

    mib: int
    file: Path | None = None
    is_shared: bool = False

    @property
    def backend(self) -> str:
        """Value of QEMU's `-object`."""
        if self.file is None and self.is_shared:
            return f"memory-backend-memfd,id=memory,size={self.mib}M,share=on"
        if self.file is None:
            return f"memory-backend-ram,id=memory,size={self.mib}M"
        share = "on" if self.is_shared else "off"
        path = quote(self.file)
        return f"memory-backend-file,id=memory,size={self.mib}M,mem-path={path},share={share}"


class Startable(Protocol):
    """Hardware of a VM, as far as the start of its QEMU needs it."""

    @property
    def accelerator(self) -> Accelerator:
        """How instructions run."""

    @property
    def console(self) -> Path:
        """File that gets the console's output, appended."""

    def arguments(self) -> Sequence[str]:
        """Return the arguments of QEMU; they refer to the channel `agent`."""

    def rebooted(self, port: int) -> Startable | None:
        """Return the hardware for a boot in a new QEMU; None means that QEMU itself resets it.

        Args:
            port: port of this machine that leads to the guest's sshd.
        """


@dataclass(frozen=True)
class Hardware:
    """Hardware of a VM. A template and its clones must have the same, except files and networks.

    Attributes:
        accelerator: how instructions run.
        cores: number of processors.
        memory: memory.
        boot: how the VM boots.
        disk: disk with the operating system, in QEMU's own format (qcow2).
        mac: MAC address, after a boot, of the network interface that leads to this machine.
        console: file that gets the console's output, appended.
        port: port of this machine's loopback address that leads to the VM's sshd; 0: a free one.
        data_disks: further disks, in QEMU's own format.
        nics: MAC addresses of further network interfaces.
        share_count: number of folders of this machine.
        seed: read-only disk with the data of the first boot; None means none.
        uuid: id of the machine, which some guests take as theirs; empty means none.
        is_incoming: whether to wait for a saved state instead of booting.
    """

    accelerator: Accelerator
    cores: int
    memory: Memory
    boot: Boot
    disk: Path
    mac: str
    console: Path
    port: int = 0
    data_disks: tuple[Path, ...] = ()
    nics: tuple[str, ...] = ()
    share_count: int = 0
    seed: Path | None = None
    uuid: str = ""
    is_incoming: bool = False

    @property
    def drives(self) -> Mapping[str, Path]:
        """Disk and further disks, by QEMU's names of them."""
        further = {f"data{number}": disk for number, disk in enumerate(self.data_disks)}
        return {"disk": self.disk, **further}

    def arguments(self) -> Sequence[str]:
        """Return the arguments of QEMU; they refer to `agent`, `cable0`… and `share0`…."""
        system, *further = self.drives.items()
        has_firmware = not isinstance(self.boot, KernelBoot)
        forward = f"tcp:{HOST_ADDRESS}:{self.port}-:{_SSH_PORT}"
        return [
            *("-nodefaults", "-no-user-config", "-display", "none"),
            # A guest that switches itself off can be switched on again.
            *("-action", "shutdown=pause"),
            *("-machine", f"{MACHINE},memory-backend=memory"),
            *(("-uuid", self.uuid) if self.uuid else ()),
            *self.accelerator.arguments,
            *("-smp", str(self.cores)),
            *("-m", str(self.memory.mib)),
            *("-object", self.memory.backend),
            *self.boot.arguments(),
            *_disk(*system, "qcow2", is_first=has_firmware),
            *("-netdev", f"user,id=net,ipv6=off,hostfwd={forward}"),
            *("-device", f"virtio-net-pci,netdev=net,mac={self.mac},romfile="),
            *("-device", "virtio-rng-pci"),
            *(word for drive in further for word in _disk(*drive, "qcow2")),
            *(
                word
                for number, mac in enumerate(self.nics)
                for word in ("-device", f"virtio-net-pci,netdev=cable{number},mac={mac},romfile=")
            ),
            *(
                word
                for number in range(self.share_count)
                for word in (
                    "-device",
                    f"vhost-user-fs-pci,chardev=share{number},tag=share{number}",
                )
            ),
            *(_disk("seed", self.seed, "raw") if self.seed else ()),
            *("-chardev", f"file,id=console,path={quote(self.console)},append=on"),
            *("-serial", "chardev:console"),
            *("-serial", "chardev:agent"),
            *(("-incoming", "defer") if self.is_incoming else ()),
        ]

    def rebooted(self, port: int) -> Hardware:
        """Return the hardware for a boot in a new QEMU: empty memory, the same disks and port.

        Args:
            port: port of this machine that leads to the guest's sshd.
        """
        memory = Memory(self.memory.mib, is_shared=self.share_count > 0)
        return replace(self, memory=memory, port=port, is_incoming=False)


def _disk(name: str, file: Path, kind: str, is_first: bool = False) -> list[str]:
    """Return the arguments for a disk; a raw one is only read, and firmware begins with `is_first`.

    Without that, UEFI may try the networks for minutes before it boots the disk again.
    """
    # Nothing outlives the VM, so nothing need be flushed to the machine's disk.
    order = ",bootindex=0" if is_first else ""
    readonly = ",readonly=on" if kind == "raw" else ""
    drive = f"id={name},if=none,file={quote(file)},format={kind},cache=unsafe{readonly}"
    return ["-drive", drive, "-device", f"virtio-blk-pci,drive={name}{order}"]
