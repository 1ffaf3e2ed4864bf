"""Templates: VMs that have booted, kept as files. A clone is running in a fraction of a second.

A template's memory is a file. Clones map it copy-on-write, so they share all pages that they do not
change. What else belongs to a running VM, the state of its devices, is in a second file, and its
disk is in a third, on top of which each clone has its own.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lisa_container.atomic import create_once, replace_file
from lisa_container.errors import VmError, VmTemplateError
from lisa_container.microvm.disks import create_data_disks, create_disk
from lisa_container.microvm.guest import Guest
from lisa_container.microvm.identity import AWAIT_IDENTITY, PREPARE_TEMPLATE, Identity, make_mac
from lisa_container.microvm.image.store import Image
from lisa_container.microvm.machine.accelerator import Accelerator
from lisa_container.microvm.machine.boot import KernelBoot
from lisa_container.microvm.machine.command_line import MACHINE, Hardware, Memory
from lisa_container.microvm.machine.qemu import find_qemu
from lisa_container.microvm.places import Places
from lisa_container.microvm.process.folders import create_folder
from lisa_container.microvm.process.network import PrivateNetwork
from lisa_container.microvm.state import load_state, save_state

# Increase this when the way to make a template changes.
_VERSION = 3
_MEMORY, _STATE, _DISK, _OVERLAY = "memory", "state", "disk.qcow2", "overlay.qcow2"
_RECORD = "template.json"
_FILES = (_MEMORY, _STATE, _DISK, _OVERLAY)
_SAVE_SECONDS = 60.0
# Programs of each login, so that clones find them in memory; then time for sshd, which waits.
_WARM_UP = """\
cat /usr/sbin/sshd /usr/bin/sudo /bin/bash /usr/bin/docker >/dev/null 2>&1 || true
sleep 3
sync
"""


@dataclass(frozen=True)
class Shape:
    """Hardware and image that a template and its clones share.

    Attributes:
        image: the image.
        accelerator: how instructions run.
        cores: number of processors.
        memory_mib: memory in MiB.
        kernel: kernel to boot.
        initrd: initial RAM disk; None means none.
        options: command line of the kernel.
        data_disks_gib: sizes of the further disks in GiB.
        nic_count: number of the further network interfaces.
    """

    image: Image
    accelerator: Accelerator
    cores: int
    memory_mib: int
    kernel: Path
    initrd: Path | None
    options: str
    data_disks_gib: tuple[int, ...] = ()
    nic_count: int = 0

    @property
    def key(self) -> str:
        """Name of the template: the image's name, and a hash of everything else."""
        parts = (
            _VERSION,
            find_qemu().version,
            MACHINE,
            self.accelerator.arguments,
            self.cores,
            self.memory_mib,
            hashlib.sha256(self.kernel.read_bytes()).hexdigest(),
            self.options,
            self.data_disks_gib,
            self.nic_count,
        )
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
        return f"{self.image.name}-{digest}"

    def hardware(self, macs: Sequence[str], memory: Memory, disk: Path, console: Path) -> Hardware:
        """Return the hardware of one VM. Its further disks are created beside its disk.

        Args:
            macs: MAC addresses of its network interfaces, the one to this machine first.
            memory: memory of the VM.
            disk: disk of the VM.
            console: file for the output of its console.

        Raises:
            VmError: a disk could not be created.
        """
        return Hardware(
            accelerator=self.accelerator,
            cores=self.cores,
            memory=memory,
            boot=KernelBoot(self.kernel, self.initrd, self.options),
            disk=disk,
            mac=macs[0],
            nics=tuple(macs[1:]),
            data_disks=create_data_disks(disk.parent, self.data_disks_gib),
            console=console,
        )


@dataclass(frozen=True)
class Template:
    """Template in the cache.

    Attributes:
        folder: folder of its files, which must not be changed.
        shape: hardware and image.
        record: sizes, times and hashes of its files, as they were made.
    """

    folder: Path
    shape: Shape
    record: str

    @property
    def memory(self) -> Memory:
        """Memory of a clone: the template's until the clone changes it."""
        return Memory(self.shape.memory_mib, self.folder / _MEMORY)

    def make_disk(self, disk: Path) -> None:
        """Create the disk of a clone: an empty layer on the template's disk.

        Args:
            disk: file to create.
        """
        shutil.copyfile(self.folder / _OVERLAY, disk)

    def restore(self, guest: Guest, identity: Identity, seconds: float) -> None:
        """Load the template's state into a QEMU that waits for it, and run a script in the guest.

        Args:
            guest: guest whose hardware has `is_incoming`.
            identity: identity of the clone.
            seconds: time limit.

        Raises:
            VmTemplateError: QEMU does not take the state, or the guest does not take its identity.
        """
        try:
            load_state(guest, self.folder / _STATE, with_memory=False, seconds=seconds)
            guest.monitor("cont")
            deadline = time.monotonic() + seconds
            guest.answer(identity.line(), "take its identity", deadline)
            if nics := identity.nics_script():
                guest.run(nics, "configure its network interfaces", deadline)
        except VmError as error:
            name = self.folder.name
            raise VmTemplateError(f"template '{name}' cannot be restored: {error}") from error

    @property
    def is_current(self) -> bool:
        """Whether the template was not discarded, or replaced by another process."""
        try:
            return (self.folder / _RECORD).read_text(encoding="utf-8") == self.record
        except FileNotFoundError:
            return False

    def discard(self) -> None:
        """Mark the template as damaged, so that it is made anew when it is needed.

        Do nothing if another process has made it anew meanwhile.
        """
        with suppress(FileNotFoundError):
            if self.is_current:
                (self.folder / _RECORD).unlink()


def provide_template(
    shape: Shape, places: Places, seconds: float, report: Callable[[str], None]
) -> Template:
    """Make a template unless it exists and is whole.

    Args:
        shape: hardware and image.
        places: folders of the cache.
        seconds: time limit of its boot, at full speed.
        report: function that gets the progress, line by line.

    Raises:
        VmBootError: the VM of the template did not become ready.
        VmError: the template could not be made.
    """
    folder = places.templates / shape.key
    while True:
        with create_once(folder, report, _is_whole) as temporary:
            if temporary:
                report("booting a VM once, as the template of others")
                temporary.mkdir(mode=0o700)
                _make(shape, temporary, folder, places, seconds)
        # Another thread or process may have found it damaged, and discarded it, at this moment.
        with suppress(FileNotFoundError):
            return Template(folder, shape, (folder / _RECORD).read_text(encoding="utf-8"))


def _make(shape: Shape, folder: Path, final: Path, places: Places, seconds: float) -> None:
    disk = folder / _DISK
    create_disk(disk, shape.image.disk, "raw")
    memory = Memory(shape.memory_mib, folder / _MEMORY, is_shared=True)
    running = create_folder(places.running)
    identity = Identity("template")
    # Only clones configure the further network interfaces.
    macs = [identity.mac, *(make_mac() for _ in range(shape.nic_count))]
    networks = [PrivateNetwork() for _ in range(shape.nic_count)]
    hardware = shape.hardware(macs, memory, disk, running.path / "console.log")
    guest = Guest("template", running, hardware, networks)
    try:
        guest.boot(identity.script(), shape.image.has_docker, seconds)
        deadline = time.monotonic() + _SAVE_SECONDS * shape.accelerator.patience
        guest.run(PREPARE_TEMPLATE + _WARM_UP, "get ready to be saved", deadline)
        guest.begin(AWAIT_IDENTITY, "wait for an identity", deadline)
        guest.monitor("stop")
        # The memory is in its file already.
        save_state(guest, folder / _STATE, with_memory=False, seconds=_SAVE_SECONDS)
        # Writes what QEMU still holds of the disk.
        guest.monitor("quit")
        if not guest.process.has_ended(_SAVE_SECONDS):
            raise VmError(f"the QEMU of the template did not end in {_SAVE_SECONDS:g} s")
    finally:
        guest.kill()
    # On the disk's later name, which does not exist yet.
    create_disk(folder / _OVERLAY, final / _DISK, "qcow2", shape.image.disk.stat().st_size)
    replace_file(folder / _RECORD, [json.dumps(_fingerprints(folder)).encode()])


def _is_whole(folder: Path) -> bool:
    """Return whether the files of a template are those that were made."""
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        return bool(record == _fingerprints(folder))
    except (OSError, ValueError):
        return False


def _fingerprints(folder: Path) -> dict[str, list[object]]:
    """Return size, time of the last change and, of small files, a hash of each file."""
    found: dict[str, list[object]] = {}
    for name in _FILES:
        status = (folder / name).stat()
        found[name] = [status.st_size, status.st_mtime_ns]
    for name in (_STATE, _OVERLAY):
        found[name].append(hashlib.sha256((folder / name).read_bytes()).hexdigest())
    return found
