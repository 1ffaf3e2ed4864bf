"""Virtual machine for a `with` block: started as a clone of its template, or booted."""

from __future__ import annotations

import atexit
import logging
import string
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Callable

import paramiko

from lisa_container.addresses import Address, throw_away_ssh
from lisa_container.errors import VmError, VmTemplateError
from lisa_container.forks import Belongings
from lisa_container.masking import Plain
from lisa_container.microvm.config import VmConfig
from lisa_container.microvm.console import Milestone
from lisa_container.microvm.disk_vm import disk_hardware
from lisa_container.microvm.disks import create_disk
from lisa_container.microvm.frozen.record import FrozenVm, Origin
from lisa_container.microvm.frozen.save import save
from lisa_container.microvm.guest import Guest
from lisa_container.microvm.identity import Identity, make_mac
from lisa_container.microvm.image.disk import DiskImage, DiskImageConfig
from lisa_container.microvm.image.kernel import require_options
from lisa_container.microvm.image.store import Image, provide_image
from lisa_container.microvm.login import Login
from lisa_container.microvm.machine.accelerator import Accelerator, find_accelerator
from lisa_container.microvm.machine.command_line import HOST_ADDRESS, Hardware, Memory
from lisa_container.microvm.places import Places
from lisa_container.microvm.process.folders import create_folder
from lisa_container.microvm.process.shares import find_server, mount_script
from lisa_container.microvm.template import Shape, Template, provide_template
from lisa_container.recording.files import now

_log = logging.getLogger(__name__)

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


class MicroVm:
    """Virtual machine on this machine, for a `with` block or between `start` and `stop`.

    The VM ends with this process, even if it is killed. Nothing of it stays: QEMU, folder, disk.

    Args:
        config: config of the VM; None means the defaults.
        logger: logger for progress messages.

    >>> with MicroVm(VmConfig(memory_mib=1024)) as vm:
    ...     print(vm.ssh_command())
    """

    def __init__(
        self,
        config: VmConfig | None = None,
        logger: logging.Logger | logging.LoggerAdapter[Any] | None = None,
    ) -> None:
        """Create nothing yet; `start` does."""
        self._config = config or VmConfig()
        self._log = logger or _log
        self._lock = threading.RLock()
        nics = tuple((make_mac(), nic.address) for nic in self._config.nics)
        self._identity = Identity(self._config.name, nics=nics)
        self._places = Places.of(self._config.image.cache_dir)
        self._image: Image | DiskImage | None = None
        self._guest: Guest | None = None
        self._made: Hardware | None = None
        self._console_text = ""
        self._port = 0

    def __enter__(self) -> MicroVm:
        """Start the VM."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the VM."""
        self.stop()

    @property
    def name(self) -> str:
        """Host name."""
        return self._config.name

    @property
    def address(self) -> str:
        """Address of sshd: this machine's loopback address."""
        return HOST_ADDRESS

    @property
    def port(self) -> int:
        """Port of sshd at `address`. A reset keeps it."""
        return self._port

    @property
    def user(self) -> str:
        """User who logs in with the key and has sudo without a password."""
        return self._config.image.user

    @property
    def private_key(self) -> Path:
        """File of the private key."""
        return self._require_image().private_key

    @property
    def login_user(self) -> str:
        """User who logs in for commands: root, except where the image is a given disk."""
        return self.user if isinstance(self._config.image, DiskImageConfig) else "root"

    def log_in(self) -> paramiko.Transport:
        """Log in over SSH as `login_user`, and check that the VM has the key that it was given.

        Raises:
            SshLostError: sshd does not answer, has another key or refuses the login.
        """
        return self._login.open(self.port)

    @property
    def become_root(self) -> list[str]:
        """Words before a command by which `login_user` runs it as root."""
        return [] if self.login_user == "root" else ["sudo", "-n"]

    @property
    def host_key(self) -> str:
        """Public key of the VM's sshd, as in a file of known hosts: type and key."""
        return self._identity.host_key.public

    @property
    def kernel_version(self) -> str:
        """Version of the image's kernel; empty where the image is a given disk."""
        image = self._require_image()
        return image.kernel_version if isinstance(image, Image) else ""

    @property
    def data_disks(self) -> list[str]:
        """Devices of the further disks in the guest."""
        # The first disk is the system's.
        names = string.ascii_lowercase[1 : 1 + len(self._config.data_disks_gib)]
        return [f"/dev/vd{letter}" for letter in names]

    @property
    def private_addresses(self) -> list[str]:
        """IPv4 address of each further network interface; an empty one means none."""
        return [nic.address.partition("/")[0] for nic in self._config.nics]

    @property
    def pid(self) -> int:
        """Pid of QEMU."""
        return self._require_guest().process.pid

    @property
    def is_running(self) -> bool:
        """Whether QEMU runs; also of a paused VM."""
        return self._guest is not None and not self._guest.process.has_ended()

    @property
    def is_on(self) -> bool:
        """Whether the VM's processors run: it is neither paused nor switched off."""
        return self.is_running and bool(self._require_guest().monitor("query-status")["running"])

    @property
    def console(self) -> str:
        """Output of the console since the start or the last reset; also of a stopped VM."""
        return self._guest.console.text if self._guest else self._console_text

    @property
    def milestones(self) -> Mapping[Milestone, float]:
        """Milestones of the boot, with the seconds from the start to each."""
        return self._require_guest().console.milestones

    def start(self) -> MicroVm:
        """Start the VM; return when its daemons answer. Do nothing if it was started already.

        Raises:
            VmMachineError: this machine lacks something.
            VmImageError: the image could not be made.
            VmBootError: the VM did not become ready; it was removed.
        """
        with self._lock:
            if self._guest is None:
                image = self._config.image
                if self._config.shares:
                    find_server()
                self._image = (
                    DiskImage.open(image)
                    if isinstance(image, DiskImageConfig)
                    else provide_image(image, self._log.info)
                )
                if self._config.kernel:
                    require_options(Path(self._config.kernel), has_modules=False)
                _running.add(self)
                self._start_guest()
        return self

    def stop(self) -> None:
        """Kill the VM and remove all of it. Do nothing if that is done already.

        Raises:
            VmError: its QEMU did not end.
        """
        with self._lock:
            guest, self._guest = self._guest, None
            if guest is not None:
                self._console_text = guest.console.text
                guest.kill()
            _running.discard(self)

    def reset(self) -> None:
        """Bring the VM back to its beginning: the template's memory and disk, or a new boot.

        Address, port and keys stay; all connections break.

        Raises:
            VmBootError: the VM did not become ready; it was removed.
        """
        with self._lock:
            self._require_guest()
            self.stop()
            _running.add(self)
            self._start_guest()

    def pause(self) -> None:
        """Stop the VM's processors; memory, disk and connections stay.

        Raises:
            VmDiedError: its QEMU has ended.
        """
        self._require_guest().monitor("stop")

    def resume(self) -> None:
        """Let a paused VM go on. Its clock does not show the pause.

        Raises:
            VmDiedError: its QEMU has ended.
        """
        self._require_guest().monitor("cont")

    def freeze(self, folder: Path, case: str, limit: int) -> FrozenVm:
        """Write memory and disk of the paused VM into a folder; `resume` lets the VM go on.

        Args:
            folder: folder to create.
            case: name of the case that failed.
            limit: most bytes to write.

        Raises:
            VmDiedError: its QEMU has ended.
            VmSpaceError: there is less room; nothing stays behind.
            VmError: QEMU did not write the VM.
            OSError: a file cannot be written.
        """
        if self._config.shares:
            raise VmError(f"VM '{self.name}' has shares; QEMU cannot save such a VM")
        with self._lock:
            guest = self._require_guest()
            assert self._made is not None, "the hardware of the guest"
            panic = guest.console.find_panic()
            status = str(guest.monitor("query-status")["status"])
            stopped = f"its kernel had panicked: {panic}" if panic else ""
            if not stopped and status != "paused":
                stopped = f"its state was '{status}'"
            origin = Origin(
                case=case,
                vm=self.name,
                time=now(),
                kernel=self.kernel_version if not self._config.kernel else "",
                user=self.login_user,
                private_key=str(self.private_key),
                cache_dir=str(self._places.root),
                stopped=stopped,
            )
            return save(guest, self._made, origin, folder, limit)

    def power_off(self, seconds: float = 60) -> None:
        """Switch the VM off; its disk stays. A guest that does not end in time is stopped.

        Args:
            seconds: time limit.

        Raises:
            VmDiedError: its QEMU has ended.
        """
        self._require_guest().power_off(seconds)

    def power_on(self) -> None:
        """Boot the VM from its disk, after `power_off` or at any time.

        Raises:
            VmBootError: the VM did not become ready; it still is there.
        """
        guest = self._require_guest()
        guest.power_on(self._has_docker, self._config.ready_seconds)
        self._mount_shares(guest)

    def check(self) -> None:
        """Raise an error if the VM cannot go on; the error has the end of the console.

        Raises:
            VmDiedError: its QEMU has ended.
            VmPanicError: its kernel panicked.
        """
        self._require_guest().check()

    def run_script(self, script: str, seconds: float = 60) -> None:
        """Run a script in the guest as root, by the second serial port: without network or SSH.

        Where the image is a given disk, the script runs over SSH.

        Args:
            script: script of the guest's sh; its output goes to the console.
            seconds: time limit.

        Raises:
            VmBootError: the script failed or did not end; the subclass tells the cause.
        """
        self._require_guest().run(script, "run a script", time.monotonic() + seconds)

    def ssh_command(self, user: str = "") -> list[str]:
        """Return an SSH command line for the VM. You may append a remote command.

        Args:
            user: user who logs in; empty means `self.user`.
        """
        address = Address(user or self.user, self.address, self.port)
        return throw_away_ssh(address, self.private_key)

    def _start_guest(self) -> None:
        image = self._require_image()
        try:
            if isinstance(image, DiskImage):
                self._boot_disk(image)
            elif self._config.is_cloned and not self._config.shares:
                self._clone(image)
            else:
                self._boot(image)
        except BaseException:
            # LISA may raise an exception in this thread at any place. Nothing may be left then.
            self.stop()
            raise

    def _boot(self, image: Image) -> None:
        def hardware(folder: Path) -> Hardware:
            create_disk(folder / _DISK, image.disk, "raw")
            shares = self._config.shares
            memory = Memory(self._config.memory_mib, is_shared=bool(shares))
            made = self._hardware(self._shape(image), memory, folder)
            return replace(made, share_count=len(shares))

        guest = self._launch(hardware)
        guest.boot(self._identity.script(), image.has_docker, self._config.ready_seconds)
        self._mount_shares(guest)
        self._port = guest.find_port()

    def _boot_disk(self, image: DiskImage) -> None:
        accelerator = find_accelerator()

        def hardware(folder: Path) -> Hardware:
            made = disk_hardware(
                image,
                self._config,
                self._identity,
                accelerator,
                self._options(accelerator),
                folder,
                self._console_file(folder),
            )
            return replace(made, port=self._port)

        guest = self._launch(hardware, self._login)
        guest.boot("", has_engine=False, seconds=self._config.ready_seconds)
        self._mount_shares(guest)
        self._port = guest.find_port()

    def _mount_shares(self, guest: Guest) -> None:
        if self._config.shares:
            script = mount_script(self._config.shares)
            seconds = _MOUNT_SECONDS * find_accelerator().patience
            guest.run(script, "mount its shares", time.monotonic() + seconds)

    def _clone(self, image: Image) -> None:
        template = self._template(image)
        try:
            self._clone_of(template)
        except VmTemplateError as error:
            self._log.warning(Plain(f"{error}; its template is made anew"))
            self.stop()
            template.discard()
            self._clone_of(self._template(image))

    def _clone_of(self, template: Template) -> None:
        def hardware(folder: Path) -> Hardware:
            template.make_disk(folder / _DISK)
            made = self._hardware(template.shape, template.memory, folder)
            return replace(made, is_incoming=True)

        guest = self._launch(hardware)
        seconds = _CLONE_SECONDS * template.shape.accelerator.patience
        template.restore(guest, self._identity, seconds)
        self._port = self._port or guest.find_port()

    def _launch(self, hardware: Callable[[Path], Hardware], login: Login | None = None) -> Guest:
        folder = create_folder(self._places.running)
        try:
            made = hardware(folder.path)
        except BaseException:
            folder.remove()
            raise
        networks = [nic.network for nic in self._config.nics]
        guest = Guest(self.name, folder, made, networks, self._config.shares, login)
        self._guest, self._made = guest, made
        return self._guest

    def _template(self, image: Image) -> Template:
        seconds = self._config.ready_seconds
        return provide_template(self._shape(image), self._places, seconds, self._log.info)

    def _shape(self, image: Image) -> Shape:
        config, accelerator = self._config, find_accelerator()
        return Shape(
            image=image,
            accelerator=accelerator,
            cores=config.cores,
            memory_mib=config.memory_mib,
            kernel=Path(config.kernel) if config.kernel else image.kernel,
            initrd=None if config.kernel else image.initrd,
            options=self._options(accelerator),
            data_disks_gib=config.data_disks_gib,
            nic_count=len(config.nics),
        )

    def _options(self, accelerator: Accelerator) -> str:
        """Return the kernel's command line, in which the last value of an option wins."""
        options = (_OPTIONS, accelerator.kernel_options, self._config.options)
        return " ".join(filter(None, options))

    def _hardware(self, shape: Shape, memory: Memory, folder: Path) -> Hardware:
        macs = [self._identity.mac, *(mac for mac, _ in self._identity.nics)]
        made = shape.hardware(macs, memory, folder / _DISK, self._console_file(folder))
        return replace(made, port=self._port)

    def _console_file(self, folder: Path) -> Path:
        given = self._config.console
        return Path(given).absolute() if given else folder / _CONSOLE

    @property
    def _login(self) -> Login:
        return Login(self.name, self.login_user, self.private_key, self.host_key)

    @property
    def _has_docker(self) -> bool:
        image = self._require_image()
        return isinstance(image, Image) and image.has_docker

    def _require_image(self) -> Image | DiskImage:
        if self._image is None:
            raise VmError(f"VM '{self.name}' was not started; call start(), or use it in `with`")
        return self._image

    def _require_guest(self) -> Guest:
        if self._guest is None:
            raise VmError(f"VM '{self.name}' does not run; call start(), or use it in `with`")
        return self._guest


# Running VMs, to be stopped at the end of the process.
_running: Belongings[MicroVm] = Belongings()


@atexit.register
def _stop_all() -> None:
    for vm in _running:
        try:
            vm.stop()
        except VmError as error:
            # Continue with the other VMs.
            _log.warning(Plain(str(error)))
