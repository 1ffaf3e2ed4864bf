"""Virtual machine for a `with` block: started as a clone of its template, or booted."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Callable

from lisa_container.addresses import Address, throw_away_ssh
from lisa_container.errors import VmError, VmTemplateError
from lisa_container.forks import Belongings
from lisa_container.masking import Plain
from lisa_container.microvm.config import VmConfig
from lisa_container.microvm.console import Milestone
from lisa_container.microvm.guest import Guest
from lisa_container.microvm.identity import Identity
from lisa_container.microvm.image.kernel import require_options
from lisa_container.microvm.image.store import Image, provide_image
from lisa_container.microvm.machine.accelerator import find_accelerator
from lisa_container.microvm.machine.command_line import HOST_ADDRESS, Hardware, Memory
from lisa_container.microvm.places import Places
from lisa_container.microvm.process.folders import create_folder
from lisa_container.microvm.template import Shape, Template, create_disk, provide_template

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
        self._identity = Identity(self._config.name)
        self._places = Places.of(self._config.image.cache_dir)
        self._image: Image | None = None
        self._guest: Guest | None = None
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
        """User who logs in with the key and has sudo without a password; root accepts it too."""
        return self._config.image.user

    @property
    def private_key(self) -> Path:
        """File of the private key for `user` and root."""
        return self._require_image().private_key

    @property
    def host_key(self) -> str:
        """Public key of the VM's sshd, as in a file of known hosts: type and key."""
        return self._identity.host_key.public

    @property
    def kernel_version(self) -> str:
        """Version of the image's kernel."""
        return self._require_image().kernel_version

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
                self._image = provide_image(self._config.image, self._log.info)
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
        self._require_guest().power_on(self._require_image().has_docker, self._config.ready_seconds)

    def check(self) -> None:
        """Raise an error if the VM cannot go on; the error has the end of the console.

        Raises:
            VmDiedError: its QEMU has ended.
            VmPanicError: its kernel panicked.
        """
        self._require_guest().check()

    def run_script(self, script: str, seconds: float = 60) -> None:
        """Run a script in the guest as root, by the second serial port: without network or SSH.

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
        try:
            if self._config.is_cloned:
                self._clone()
            else:
                self._boot()
        except BaseException:
            # LISA may raise an exception in this thread at any place. Nothing may be left then.
            self.stop()
            raise

    def _boot(self) -> None:
        image = self._require_image()

        def hardware(folder: Path) -> Hardware:
            create_disk(folder / _DISK, image.disk, "raw")
            memory = Memory(self._config.memory_mib)
            return self._hardware(self._shape(), memory, folder)

        guest = self._launch(hardware)
        guest.boot(self._identity.script(), image.has_docker, self._config.ready_seconds)
        self._port = guest.find_port()

    def _clone(self) -> None:
        template = self._template()
        try:
            self._clone_of(template)
        except VmTemplateError as error:
            self._log.warning(Plain(f"{error}; its template is made anew"))
            self.stop()
            template.discard()
            self._clone_of(self._template())

    def _clone_of(self, template: Template) -> None:
        def hardware(folder: Path) -> Hardware:
            template.make_disk(folder / _DISK)
            made = self._hardware(template.shape, template.memory, folder)
            return replace(made, is_incoming=True)

        guest = self._launch(hardware)
        seconds = _CLONE_SECONDS * template.shape.accelerator.patience
        template.restore(guest, self._identity.script(), seconds)
        self._port = self._port or guest.find_port()

    def _launch(self, hardware: Callable[[Path], Hardware]) -> Guest:
        folder = create_folder(self._places.running)
        try:
            made = hardware(folder.path)
        except BaseException:
            folder.remove()
            raise
        self._guest = Guest(self.name, folder, made)
        return self._guest

    def _template(self) -> Template:
        seconds = self._config.ready_seconds
        return provide_template(self._shape(), self._places, seconds, self._log.info)

    def _shape(self) -> Shape:
        image, config, accelerator = self._require_image(), self._config, find_accelerator()
        # The last value of an option wins.
        options = (_OPTIONS, accelerator.kernel_options, config.options)
        return Shape(
            image=image,
            accelerator=accelerator,
            cores=config.cores,
            memory_mib=config.memory_mib,
            kernel=Path(config.kernel) if config.kernel else image.kernel,
            initrd=None if config.kernel else image.initrd,
            options=" ".join(filter(None, options)),
        )

    def _hardware(self, shape: Shape, memory: Memory, folder: Path) -> Hardware:
        given = self._config.console
        console = Path(given).absolute() if given else folder / _CONSOLE
        made = shape.hardware(self._identity.mac, memory, folder / _DISK, console)
        return replace(made, port=self._port)

    def _require_image(self) -> Image:
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
