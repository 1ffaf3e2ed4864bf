"""Start of a VM: as the clone of a template, or by a boot."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Callable

from lisa_container.microvm.config import VmConfig
from lisa_container.microvm.disk_vm import disk_hardware
from lisa_container.microvm.disks import create_disk
from lisa_container.microvm.guest import Guest
from lisa_container.microvm.identity import Identity
from lisa_container.microvm.image.disk import DiskImage
from lisa_container.microvm.image.store import Image
from lisa_container.microvm.login import Login
from lisa_container.microvm.machine.accelerator import find_accelerator
from lisa_container.microvm.machine.command_line import Hardware, Memory
from lisa_container.microvm.places import Places
from lisa_container.microvm.process.folders import create_folder
from lisa_container.microvm.process.shares import mount_script
from lisa_container.microvm.template import Shape, Template, provide_template

# `psi` for pressure files, which Debian's kernel has switched off; no apparmor, whose rules for the
# engine the image lacks; traditional names of network interfaces.
_OPTIONS = (
    "console=ttyS0 earlyprintk=ttyS0 root=/dev/vda rw net.ifnames=0 apparmor=0 psi=1"
    " systemd.show_status=error systemd.log_color=no TERM=dumb"
)
_DISK, _CONSOLE = "disk.qcow2", "console.log"
# Seconds at full speed for a clone to load its state and take its identity. A clone that needs
# longer has a damaged template.
_CLONE_SECONDS = 15.0
# Seconds at full speed for the guest to mount its shares.
_MOUNT_SECONDS = 15.0


class Start:
    """Start of a VM. Each way returns when the guest's daemons answer.

    Args:
        config: config of the VM.
        identity: identity of the VM.
        places: folders of the cache.
        port: port of this machine that leads to the guest's sshd; 0 means a free one.
        launched: function that gets the guest as soon as its QEMU runs. The caller ends the guest
            if the start fails.
    """

    def __init__(
        self,
        config: VmConfig,
        identity: Identity,
        places: Places,
        port: int,
        launched: Callable[[Guest], None],
    ) -> None:
        """Start nothing yet."""
        self._config, self._identity, self._places = config, identity, places
        self._port = port
        self._launched = launched
        self._accelerator = find_accelerator()

    def boot(self, image: Image) -> None:
        """Boot an image.

        Args:
            image: the image.

        Raises:
            VmBootError: the VM did not become ready.
        """

        def hardware(folder: Path) -> Hardware:
            create_disk(folder / _DISK, image.disk, "raw")
            memory = Memory(self._config.memory_mib, is_shared=bool(self._config.shares))
            return self._hardware(self.shape(image), memory, folder)

        guest = self._launch(hardware)
        guest.boot(self._identity.script(), image.has_docker, self._config.ready_seconds)
        self.mount_shares(guest)

    def boot_disk(self, image: DiskImage, login: Login) -> Guest:
        """Boot a given disk, and return its guest.

        Args:
            image: the disk.
            login: login to the guest.

        Raises:
            VmBootError: the VM did not become ready.
        """

        def hardware(folder: Path) -> Hardware:
            options, console = self._options, self._console(folder)
            config, identity = self._config, self._identity
            return disk_hardware(
                image, config, identity, self._accelerator, options, folder, console
            )

        guest = self._launch(hardware, login)
        guest.boot("", has_engine=False, seconds=self._config.ready_seconds)
        self.mount_shares(guest)
        return guest

    def clone(self, template: Template) -> None:
        """Clone a template.

        Args:
            template: the template.

        Raises:
            VmTemplateError: the template is damaged.
        """

        def hardware(folder: Path) -> Hardware:
            template.make_disk(folder / _DISK)
            made = self._hardware(template.shape, template.memory, folder)
            return replace(made, is_incoming=True)

        guest = self._launch(hardware)
        template.restore(guest, self._identity, _CLONE_SECONDS * self._accelerator.patience)

    def template(self, image: Image, report: Callable[[str], None]) -> Template:
        """Return the template of the VM, which is made if need be.

        Args:
            image: image of the VM.
            report: function that gets the progress, line by line.

        Raises:
            VmError: the template could not be made.
        """
        seconds = self._config.ready_seconds
        return provide_template(self.shape(image), self._places, seconds, report)

    def mount_shares(self, guest: Guest) -> None:
        """Mount the VM's shares in a guest that has booted.

        Args:
            guest: the guest.

        Raises:
            VmBootError: a share could not be mounted.
        """
        if self._config.shares:
            script = mount_script(self._config.shares)
            seconds = _MOUNT_SECONDS * self._accelerator.patience
            guest.run(script, "mount its shares", time.monotonic() + seconds)

    def _launch(self, hardware: Callable[[Path], Hardware], login: Login | None = None) -> Guest:
        folder = create_folder(self._places.running)
        try:
            shares = len(self._config.shares)
            made = replace(hardware(folder.path), port=self._port, share_count=shares)
        except BaseException:
            folder.remove()
            raise
        networks = [nic.network for nic in self._config.nics]
        guest = Guest(self._config.name, folder, made, networks, self._config.shares, login)
        self._launched(guest)
        return guest

    def shape(self, image: Image) -> Shape:
        """Return what the VM shares with its template.

        Args:
            image: image of the VM.
        """
        config = self._config
        return Shape(
            image=image,
            accelerator=self._accelerator,
            cores=config.cores,
            memory_mib=config.memory_mib,
            kernel=Path(config.kernel) if config.kernel else image.kernel,
            initrd=None if config.kernel else image.initrd,
            options=self._options,
            data_disks_gib=config.data_disks_gib,
            nic_count=len(config.nics),
        )

    @property
    def _options(self) -> str:
        """The kernel's command line, in which the last value of an option wins."""
        options = (_OPTIONS, self._accelerator.kernel_options, self._config.options)
        return " ".join(filter(None, options))

    def _hardware(self, shape: Shape, memory: Memory, folder: Path) -> Hardware:
        macs = [self._identity.mac, *(mac for mac, _ in self._identity.nics)]
        return shape.hardware(macs, memory, folder / _DISK, self._console(folder))

    def _console(self, folder: Path) -> Path:
        given = self._config.console
        return Path(given).absolute() if given else folder / _CONSOLE
