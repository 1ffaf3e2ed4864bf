"""Command line of QEMU for one VM.

The machine is `q35`. In trials its boots took as much processor time as those of `pc`, to a few
percent; `microvm` has no hotplug, and without a clock to calibrate by, kernels stop early in TCG.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lisa_container.microvm.machine.accelerator import Accelerator

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
        is_shared: whether the guest's writes change the file. Otherwise the VM keeps its own copy
            of each page that it changes.
    """

    mib: int
    file: Path | None = None
    is_shared: bool = False

    @property
    def backend(self) -> str:
        """Value of QEMU's `-object`."""
        if self.file is None:
            return f"memory-backend-ram,id=memory,size={self.mib}M"
        share = "on" if self.is_shared else "off"
        path = quote(self.file)
        return f"memory-backend-file,id=memory,size={self.mib}M,mem-path={path},share={share}"


@dataclass(frozen=True)
class Hardware:
    """Hardware of a VM. A template and its clones must have the same, except files.

    Attributes:
        accelerator: how instructions run.
        cores: number of processors.
        memory: memory.
        kernel: kernel to boot.
        initrd: initial RAM disk; None means none.
        options: command line of the kernel.
        disk: disk in QEMU's own format (qcow2).
        mac: MAC address of the network interface after a boot.
        console: file that gets the console's output, appended.
        port: port of this machine's loopback address that leads to the VM's sshd; 0: a free one.
        is_incoming: whether to wait for a saved state instead of booting.
    """

    accelerator: Accelerator
    cores: int
    memory: Memory
    kernel: Path
    initrd: Path | None
    options: str
    disk: Path
    mac: str
    console: Path
    port: int = 0
    is_incoming: bool = False

    def arguments(self) -> Sequence[str]:
        """Return the arguments of QEMU; they refer to the channel `agent`."""
        forward = f"tcp:{HOST_ADDRESS}:{self.port}-:{_SSH_PORT}"
        return [
            *("-nodefaults", "-no-user-config", "-display", "none"),
            # A guest that switches itself off can be switched on again.
            *("-action", "shutdown=pause"),
            *("-machine", f"{MACHINE},memory-backend=memory"),
            *self.accelerator.arguments,
            *("-smp", str(self.cores)),
            *("-m", str(self.memory.mib)),
            *("-object", self.memory.backend),
            *("-kernel", str(self.kernel)),
            *(("-initrd", str(self.initrd)) if self.initrd else ()),
            *("-append", self.options),
            # Nothing outlives the VM, so nothing need be flushed to the machine's disk.
            *("-drive", f"id=disk,if=none,file={quote(self.disk)},format=qcow2,cache=unsafe"),
            *("-device", "virtio-blk-pci,drive=disk"),
            *("-netdev", f"user,id=net,ipv6=off,hostfwd={forward}"),
            *("-device", f"virtio-net-pci,netdev=net,mac={self.mac},romfile="),
            *("-device", "virtio-rng-pci"),
            *("-chardev", f"file,id=console,path={quote(self.console)},append=on"),
            *("-serial", "chardev:console"),
            *("-serial", "chardev:agent"),
            *(("-incoming", "defer") if self.is_incoming else ()),
        ]


def quote(path: Path) -> str:
    """Return a path as a value in QEMU's lists of options, where a comma separates them.

    >>> quote(Path("/a,b"))
    '/a,,b'
    """
    return str(path).replace(",", ",,")
