"""Virtual machine for a `with` block: started as a clone of its template, or booted."""

from __future__ import annotations

import atexit
import logging
import string
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import paramiko

from lisa_container.addresses import Address, throw_away_ssh
from lisa_container.errors import VmDiedError, VmError, VmTemplateError
from lisa_container.forks import Belongings
from lisa_container.masking import Plain
from lisa_container.microvm.checkpoint import Checkpoint
from lisa_container.microvm.config import VmConfig
from lisa_container.microvm.console import Milestone
from lisa_container.microvm.frozen.record import FrozenVm, Origin
from lisa_container.microvm.frozen.save import save
from lisa_container.microvm.guest import Guest
from lisa_container.microvm.identity import Identity, make_mac
from lisa_container.microvm.image.disk import DiskImage, DiskImageConfig
from lisa_container.microvm.image.kernel import require_options
from lisa_container.microvm.image.store import Image, provide_image
from lisa_container.microvm.login import Login
from lisa_container.microvm.machine.command_line import HOST_ADDRESS, Hardware
from lisa_container.microvm.places import Places
from lisa_container.microvm.process.shares import find_server
from lisa_container.microvm.starting import Start
from lisa_container.recording.files import now

_log = logging.getLogger(__name__)


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
        self._checkpoint: Checkpoint | None = None
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
        """Pid of QEMU. Each boot has a QEMU of its own, also when the guest reboots itself."""
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
            guest, self._guest, self._checkpoint = self._guest, None, None
            if guest is not None:
                self._console_text = guest.console.text
                guest.kill()
            _running.discard(self)

    def reset(self) -> None:
        """Bring the VM back to its beginning: memory and disk as after the start, or a new boot.

        Address, port and keys stay; all connections break.

        Raises:
            VmBootError: the VM did not become ready; it was removed.
        """
        with self._lock:
            self._require_guest()
            if self._checkpoint is not None and self._restore(self._checkpoint):
                return
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
            hardware = guest.hardware
            assert isinstance(hardware, Hardware), "not of a thawed copy"
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
            return save(guest, hardware, origin, folder, limit)

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
        self._start().mount_shares(guest)

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
        image, start = self._require_image(), self._start()
        # QEMU cannot save a VM with shares.
        is_saved = self._config.is_cloned and not self._config.shares
        try:
            if isinstance(image, DiskImage):
                guest = start.boot_disk(image, self._login)
                if is_saved:
                    self._take_checkpoint(guest)
            elif is_saved:
                self._clone(start, image)
            else:
                start.boot(image)
            self._port = self._port or self._require_guest().find_port()
        except BaseException:
            # LISA may raise an exception in this thread at any place. Nothing may be left then.
            self.stop()
            raise

    def _clone(self, start: Start, image: Image) -> None:
        is_new = False
        while True:
            template = start.template(image, self._log.info)
            try:
                start.clone(template)
                return
            except VmTemplateError as error:
                if is_new:
                    raise
                self._log.warning(Plain(f"{error}; its template is made anew"))
                template.discard()
                is_new = True
            except (VmDiedError, FileNotFoundError):
                if template.is_current:
                    raise
                # Another VM has found the template damaged, and it is being made anew.
            self.stop()

    def _start(self) -> Start:
        return Start(self._config, self._identity, self._places, self._port, self._take)

    def _take(self, guest: Guest) -> None:
        self._guest = guest

    def _take_checkpoint(self, guest: Guest) -> None:
        try:
            self._checkpoint = Checkpoint.take(guest)
        except VmDiedError:
            raise
        except VmError as error:
            self._log.warning(Plain(f"VM '{self.name}': {error}; a reset will boot it"))

    def _restore(self, checkpoint: Checkpoint) -> bool:
        """Return whether the VM is as it was after its start."""
        try:
            checkpoint.restore()
        except VmError as error:
            self._log.warning(Plain(f"{error}; VM '{self.name}' boots instead"))
            return False
        except BaseException:
            # LISA may raise an exception in this thread at any place. Nothing may be left then.
            self.stop()
            raise
        return True

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
