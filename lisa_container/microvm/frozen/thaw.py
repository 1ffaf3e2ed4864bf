"""Throw-away copies of a frozen VM: each goes on from the moment at which the VM was frozen."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from lisa_container.addresses import Address, throw_away_ssh
from lisa_container.errors import VmBootError, VmError, VmFrozenError
from lisa_container.microvm.disks import create_disk, create_empty_disk
from lisa_container.microvm.frozen.record import CONSOLE, FrozenVm
from lisa_container.microvm.guest import Guest
from lisa_container.microvm.machine.accelerator import Accelerator
from lisa_container.microvm.machine.command_line import HOST_ADDRESS
from lisa_container.microvm.places import Places
from lisa_container.microvm.process.folders import create_folder
from lisa_container.microvm.process.network import PrivateNetwork
from lisa_container.microvm.state import load_state

# Seconds at full speed for QEMU to load the memory, and for sshd to answer.
_LOAD_SECONDS = 30.0
_SSHD_SECONDS = 5.0


@dataclass(frozen=True)
class _SavedHardware:
    """Hardware as it was when the VM was frozen."""

    accelerator: Accelerator
    console: Path
    words: tuple[str, ...]

    def arguments(self) -> Sequence[str]:
        return self.words

    def rebooted(self, port: int) -> None:
        return None


class ThawedVm:
    """Copy of a frozen VM, for a `with` block, after which nothing of it is left.

    The frozen VM is only read, so there may be several copies, and each begins alike.

    Args:
        frozen: the frozen VM.
        with_disks: whether the copy has the disks; without them it must not go on.

    >>> with ThawedVm(frozen) as vm:
    ...     vm.go_on()
    ...     subprocess.run([*vm.ssh_command(), "cat", "/proc/uptime"])
    """

    def __init__(self, frozen: FrozenVm, with_disks: bool = True) -> None:
        """Start nothing yet."""
        self._frozen = frozen
        self._with_disks = with_disks
        self._guest: Guest | None = None

    def __enter__(self) -> ThawedVm:
        """Load the memory; the copy's processors do not run yet.

        Raises:
            VmFrozenError: the frozen VM is damaged, or this machine lacks what it needs.
        """
        frozen = self._frozen
        fault = frozen.fault() or (frozen.disk_fault() if self._with_disks else "")
        if fault:
            raise VmFrozenError(f"{self._name} cannot be thawed: {fault}")
        patience = frozen.accelerator.patience
        try:
            self._guest = self._launch()
            load_state(self._guest, frozen.state, True, _LOAD_SECONDS * patience)
        except VmError as error:
            self.stop()
            raise VmFrozenError(f"{self._name} cannot be thawed: {error}") from error
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the copy."""
        self.stop()

    @property
    def guest(self) -> Guest:
        """The running guest."""
        assert self._guest is not None, "in a `with` block"
        return self._guest

    def go_on(self) -> None:
        """Let the copy go on, and wait until it answers over SSH.

        Raises:
            VmFrozenError: nothing can run in it, or it does not answer.
        """
        core = "`lisa-container vm core` writes its memory for a debugger"
        stopped = self._frozen.origin.stopped
        if stopped:
            raise VmFrozenError(f"{self._name} cannot go on: {stopped}; {core}")
        patience = self._frozen.accelerator.patience
        try:
            self.guest.monitor("cont")
            port = self.guest.find_port()
            self.guest.wait_sshd(port, time.monotonic() + _SSHD_SECONDS * patience)
        except VmBootError as error:
            console = self._frozen.folder / CONSOLE
            raise VmFrozenError(
                f"{self._name} goes on, but has no login: {error}\nIts console until it was frozen"
                f" is in '{console}'; {core}"
            ) from error
        self._port = port

    def ssh_command(self) -> list[str]:
        """Return an SSH command line for the copy. You may append a remote command."""
        origin = self._frozen.origin
        address = Address(origin.user, HOST_ADDRESS, self._port)
        return throw_away_ssh(address, Path(origin.private_key))

    def stop(self) -> None:
        """Kill the copy and remove all of it. Do nothing if that is done already."""
        guest, self._guest = self._guest, None
        if guest is not None:
            guest.kill()

    @property
    def _name(self) -> str:
        origin = self._frozen.origin
        return f"frozen VM '{origin.vm}' of case '{origin.case}'"

    def _launch(self) -> Guest:
        frozen = self._frozen
        folder = create_folder(Places.of(frozen.origin.cache_dir).running)
        try:
            for name in frozen.files:
                shutil.copyfile(frozen.folder / name, folder.path / name)
            for name, disk in frozen.disks.items():
                if self._with_disks:
                    create_disk(folder.path / name, frozen.folder.absolute() / name, "qcow2")
                else:
                    create_empty_disk(folder.path / name, disk.size)
        except BaseException:
            folder.remove()
            raise
        hardware = _SavedHardware(frozen.accelerator, folder.path / CONSOLE, frozen.arguments)
        # Their other ends lead nowhere.
        networks = [PrivateNetwork() for _ in range(frozen.nics)]
        return Guest(frozen.origin.vm, folder, hardware, networks)
