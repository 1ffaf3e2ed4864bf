"""Guest in a QEMU: start, readiness, and errors that say where it stands."""

from __future__ import annotations

import logging
import re
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from lisa_container.errors import (
    VmBootError,
    VmDiedError,
    VmDiskFullError,
    VmError,
    VmPanicError,
    VmTimeoutError,
)
from lisa_container.escaping import quote_output, says_disk_is_full
from lisa_container.masking import Plain
from lisa_container.microvm.console import Console, Milestone
from lisa_container.microvm.login import Login
from lisa_container.microvm.machine.command_line import HOST_ADDRESS, Startable
from lisa_container.microvm.process.agent import SCRIPT_END, AgentLostError
from lisa_container.microvm.process.folders import VmFolder
from lisa_container.microvm.process.network import PrivateNetwork
from lisa_container.microvm.process.process import QemuProcess
from lisa_container.microvm.process.qmp import Qmp, QmpLostError
from lisa_container.microvm.process.shares import Share

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.05
_PANIC_SECONDS = 0.5
_CONNECT_SECONDS = 1.0
_GREETING_SECONDS = 5.0
_BANNER = b"SSH-"
_FORWARD = re.compile(r"TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s")
_START_SSHD = "systemctl start ssh"
# Returns when the engine says that it is ready, or fails.
_START_ENGINE = "systemctl start docker"
# cloud-init makes users and host keys before sshd starts, and does the rest afterwards. Code 2 is
# of a boot with warnings.
_WAIT_FOR_CLOUD_INIT = """\
command -v cloud-init >/dev/null || exit 0
output=$(cloud-init status --wait --long 2>&1)
code=$?
[ "$code" = 0 ] || [ "$code" = 2 ] || { echo "$output" >&2; exit "$code"; }
"""


class Guest:
    """Guest in its own QEMU. The QEMU runs from the construction to `kill`.

    Args:
        name: name of the VM, for errors.
        folder: folder of the VM, which is removed at the end.
        hardware: hardware of the VM.
        networks: networks of its further interfaces.
        shares: folders of this machine, which it does not mount yet.
        login: login over SSH, for a guest without the agent; None means that it has the agent.

    Attributes:
        console: console of this boot.
        hardware: hardware of the VM, from which its next boot begins.
        process: the QEMU.

    Raises:
        VmDiedError: QEMU ended at once.
        VmError: QEMU does not answer.
    """

    def __init__(
        self,
        name: str,
        folder: VmFolder,
        hardware: Startable,
        networks: Sequence[PrivateNetwork] = (),
        shares: Sequence[Share] = (),
        login: Login | None = None,
    ) -> None:
        """Start QEMU."""
        self._name = name
        self._login = login
        self.hardware = hardware
        self._patience = hardware.accelerator.patience
        self.console = Console(hardware.console)
        arguments = self._arguments(hardware)
        self.process = QemuProcess(name, folder, arguments, networks, shares)
        try:
            self._connect()
        except BaseException:
            self.kill()
            raise

    def boot(self, identity_script: str, has_engine: bool, seconds: float) -> None:
        """Wait until the guest has booted and its daemons answer.

        Args:
            identity_script: script that gives the guest its identity.
            has_engine: whether to wait for the container engine.
            seconds: time limit at full speed.

        Raises:
            VmBootError: the guest did not come up; the subclass tells the cause.
        """
        deadline = time.monotonic() + seconds * self._patience
        if self._login is not None:
            self._boot_alone(self._login, deadline)
            return
        self._wait(self.process.agent.is_ready, deadline, "boot")
        self.run(f"{identity_script}\n{_START_SSHD}", "start sshd", deadline)
        self.wait_sshd(self.find_port(), deadline)
        if has_engine:
            self.run(_START_ENGINE, "start the container engine", deadline)
            self.console.reach(Milestone.ENGINE)

    def _boot_alone(self, login: Login, deadline: float) -> None:
        """Wait until a guest without the agent can be used."""
        port = self.find_port()
        self.wait_sshd(port, deadline)
        with login.start(port, _WAIT_FOR_CLOUD_INIT, is_repeated=True) as command:
            self._wait(command.is_done, deadline, "finish its first boot (cloud-init)")

    def power_off(self, seconds: float) -> None:
        """Switch the guest off, or stop it if it does not end.

        Args:
            seconds: time limit.

        Raises:
            VmDiedError: QEMU has ended.
        """
        deadline = time.monotonic() + seconds
        # A guest that has panicked does not take the script.
        with suppress(VmPanicError, VmTimeoutError):
            if self._login is None:
                self.run("systemctl --no-block poweroff", "begin to end", deadline)
            else:
                self.monitor("system_powerdown")
            self._wait(self._is_off, deadline, "switch itself off")
        self.monitor("stop")

    def power_on(self, has_engine: bool, seconds: float) -> None:
        """Boot the guest again from its disk.

        Args:
            has_engine: whether to wait for the container engine.
            seconds: time limit at full speed.

        Raises:
            VmBootError: the guest did not come up; the subclass tells the cause.
        """
        with self.process.lock:
            self.monitor("stop")
            self.console.begin()
            self._reboot()
        self.boot("true", has_engine, seconds)

    def restart(self, hardware: Startable) -> None:
        """End this QEMU, which writes its disks, and start another in the VM's folder.

        Args:
            hardware: hardware of the VM from now on.

        Raises:
            VmDiedError: the present QEMU has ended, or the new one ended at once.
            VmError: QEMU does not end or answer.
        """
        with self.process.lock:
            try:
                self.process.restart(self._arguments(hardware))
            except QmpLostError as error:
                raise self._died() from error
            self.hardware = hardware
            self._connect()

    def _is_off(self, seconds: float) -> bool:
        time.sleep(seconds)
        return bool(self.monitor("query-status")["status"] == "shutdown")

    def run(self, script: str, what: str, deadline: float) -> None:
        """Run a script in the guest as root: without SSH, if it has the agent.

        Args:
            script: script of the guest's sh; its output goes to the console.
            what: the job, for errors.
            deadline: time limit, by `time.monotonic`.

        Raises:
            VmBootError: the script failed or did not end; the subclass tells the cause.
        """
        if self._login is not None:
            with self._login.start(self.find_port(), script) as command:
                self._wait(command.is_done, deadline, what)
            return
        self._start(script)
        self._wait(self.process.agent.is_done, deadline, what)

    def begin(self, script: str, what: str, deadline: float) -> None:
        """Start a script that says on the agent's port that it is ready, and then reads a line.

        Args:
            script: script of the guest's sh; no line of it may be a single dot.
            what: the job, for errors.
            deadline: time limit, by `time.monotonic`.

        Raises:
            VmBootError: the script did not get ready; the subclass tells the cause.
        """
        self._start(script)
        self._wait(self.process.agent.is_ready, deadline, what)

    def answer(self, line: str, what: str, deadline: float) -> None:
        """Send a line to the script that `begin` started, and wait for the script's end.

        Args:
            line: the line.
            what: the job, for errors.
            deadline: time limit, by `time.monotonic`.

        Raises:
            VmBootError: the script failed or did not end; the subclass tells the cause.
        """
        self._send(line)
        self._wait(self.process.agent.is_done, deadline, what)

    def find_port(self) -> int:
        """Return the port of this machine that leads to the guest's sshd.

        Raises:
            VmError: QEMU does not tell.
        """
        text = self.monitor("human-monitor-command", command_line="info usernet")
        match = _FORWARD.search(text)
        if match is None:
            raise VmError(f"VM '{self._name}': QEMU forwards no port; it says: {text!r}")
        return int(match[1])

    def monitor(self, command: str, **arguments: Any) -> Any:
        """Run a command of QMP and return its result.

        Args:
            command: name of the command.
            arguments: arguments of the command.

        Raises:
            VmDiedError: QEMU has ended.
            VmError: QEMU refuses the command.
        """
        while True:
            qmp = self.process.qmp
            try:
                return qmp.execute(command, **arguments)
            except QmpLostError as error:
                # After a reboot there is a new QEMU, which is asked then.
                if self.process.qmp is qmp:
                    raise self._died() from error

    def wait_sshd(self, port: int, deadline: float) -> None:
        """Wait until sshd sends its greeting.

        Args:
            port: port of this machine.
            deadline: time limit, by `time.monotonic`.

        Raises:
            VmBootError: it does not; the subclass tells the cause.
        """

        def answers(seconds: float) -> bool:
            with suppress(OSError):
                address = (HOST_ADDRESS, port)
                with socket.create_connection(address, timeout=_CONNECT_SECONDS) as connection:
                    connection.settimeout(_GREETING_SECONDS)
                    if connection.recv(len(_BANNER)) == _BANNER:
                        return True
            time.sleep(seconds)
            return False

        self._wait(answers, deadline, "reach sshd")
        self.console.reach(Milestone.SSHD)

    def check(self) -> None:
        """Raise an error if the guest cannot go on.

        Raises:
            VmDiedError: QEMU has ended.
            VmPanicError: the guest's kernel panicked.
        """
        if self.process.has_ended():
            raise self._died()
        panic = self.console.find_panic()
        if panic:
            # The console is slow, and the error is to have all of it.
            deadline = time.monotonic() + _PANIC_SECONDS * self._patience
            while not self.console.shows_end_of_panic() and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
            raise self._failure(VmPanicError, f"had a kernel panic: {panic}")

    def kill(self) -> None:
        """Kill QEMU and remove the VM's folder."""
        self.process.kill()

    def _connect(self) -> None:
        qmp = self.process.qmp
        try:
            qmp.connect(_GREETING_SECONDS * self._patience, lambda: self._after_reset(qmp))
        except QmpLostError as error:
            raise self._died() from error

    def _after_reset(self, qmp: Qmp) -> None:
        """Boot again in a new QEMU after a reset in the guest."""
        with self.process.lock:
            # Otherwise the VM was killed, or booted again, in the meantime.
            if self.process.qmp is qmp and not self.process.has_ended():
                try:
                    self._reboot()
                except VmError as error:
                    # The next use of the VM raises VmDiedError, because QEMU has ended.
                    _log.warning(Plain(f"reboot of VM '{self._name}': {error}"))

    def _reboot(self) -> None:
        """Boot in a new QEMU.

        A used one keeps its translations of the guest's code, and each write to a page with one is
        slow: firmware and the kernel's unpacking took ten times as long as at the first boot.
        """
        hardware = self.hardware.rebooted(self.find_port())
        assert hardware is not None, "a thawed copy is reset by its QEMU"
        self.restart(hardware)

    @staticmethod
    def _arguments(hardware: Startable) -> list[str]:
        # QEMU stops the guest when it resets its machine, and tells `_after_reset`.
        is_told = hardware.rebooted(0) is not None
        return [*hardware.arguments(), *(("-action", "reboot=shutdown") if is_told else ())]

    def _start(self, script: str) -> None:
        self._send(f"{script.rstrip()}\n{SCRIPT_END}")

    def _send(self, text: str) -> None:
        while True:
            try:
                return self.process.agent.send(text)
            except AgentLostError as error:
                # After a reboot there is a new QEMU, which gets the text.
                if self.process.has_ended():
                    raise self._died() from error

    def _wait(self, is_done: Callable[[float], bool], deadline: float, what: str) -> None:
        """Wait for a condition, which gets the seconds to wait at most."""
        started = time.monotonic()

        def is_done_now() -> bool:
            try:
                return is_done(_POLL_SECONDS)
            except AgentLostError as error:
                if self.process.has_ended():
                    raise self._died() from error
                # The guest has rebooted.
                return False

        try:
            while not is_done_now():
                self.console.look()
                self.check()
                if time.monotonic() > deadline:
                    raise self._timeout(what, time.monotonic() - started)
            self.console.look()
        except VmBootError:
            raise
        except VmError as error:
            if says_disk_is_full(self.console.tail):
                raise self._disk_full() from error
            raise self._failure(VmBootError, f"did not {what}: {error}") from error

    def _timeout(self, what: str, seconds: float) -> VmBootError:
        if says_disk_is_full(self.console.tail):
            return self._disk_full()
        reason = f"did not {what} in {seconds:.0f} s; raise 'ready_seconds' if it only is slow"
        return self._failure(VmTimeoutError, reason)

    def _disk_full(self) -> VmBootError:
        reason = "has no space left on its disk; give the image a larger one ('disk_gib')"
        return self._failure(VmDiskFullError, reason)

    def _died(self) -> VmBootError:
        log = self.process.log
        said = f"; QEMU said: {quote_output(log, 500)}" if log else ", without a message"
        return self._failure(VmDiedError, f"ended: its QEMU was killed or failed{said}")

    def _failure(self, kind: type[VmBootError], reason: str) -> VmBootError:
        self.console.look()
        return kind(self._name, reason, self.console.progress, self.console.tail)
