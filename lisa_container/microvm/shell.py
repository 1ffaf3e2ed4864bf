"""Virtual machine as the host of resident shells: channels of one SSH connection."""

from __future__ import annotations

import select
import shlex
import socket
import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Callable

import paramiko
from lisa.util.logger import Logger

from lisa_container.container.limited_output import LimitedOutput
from lisa_container.container.session.errors import NoSessionError, SessionEndedError
from lisa_container.container.session.host import ShellStream, Surroundings
from lisa_container.container.session.script import SHELL, SHELL_ENVIRONMENT, SHELL_TEXT
from lisa_container.container.signals import Run, Target
from lisa_container.engine.http.frames import STDERR, STDOUT
from lisa_container.engine.ssh import CHANNEL_TIMEOUT
from lisa_container.errors import ContainerError, SshLostError, VmError
from lisa_container.microvm.vm import MicroVm

_CHUNK = 1 << 16
# Seconds between two looks at a channel whose descriptor is silent, or tells of nothing.
_SLICE_SECONDS, _PAUSE_SECONDS = 0.1, 0.001
# Seconds between two looks whether the VM is still there.
_LOOK_SECONDS = 0.5
# Seconds after the loss of a connection in which QEMU may still be ending.
_SETTLE_SECONDS = 1.0
_MOST_OUTPUT = 4096
# Exit codes of a shell that is unsuitable, or that does not exist.
_NO_SHELL = (97, 126, 127)
# Function that returns the SSH connection to the VM, opened if need be.
Connect = Callable[[], paramiko.Transport]


class ChannelStream:
    """Channel of a resident shell; see `ShellStream`.

    Args:
        machine: The running VM.
        channel: Channel on which the shell was started.
    """

    def __init__(self, machine: MicroVm, channel: paramiko.Channel) -> None:
        """Read nothing yet."""
        self._machine = machine
        self._channel = channel
        self._poll = select.poll()  # not select.select, which fails above descriptor 1023
        self._poll.register(channel.fileno(), select.POLLIN)
        self._looked = time.monotonic()
        self._is_closed = False

    def send(self, data: bytes, timeout: float | None = None) -> None:
        """Send bytes to the shell's stdin; see `ShellStream.send`."""
        self._channel.settimeout(timeout)
        try:
            self._channel.sendall(data)
        except (paramiko.SSHException, EOFError) as error:
            raise self._lost(error) from error

    def read(self, timeout: float) -> Iterable[tuple[int, bytes]]:
        """Return the next pieces of output; see `ShellStream.read`."""
        channel = self._channel
        if self._is_closed:  # the descriptor may be another file's by now
            raise SessionEndedError("the resident shell was ended.")
        if not self._wait(timeout):
            self._look()
            raise socket.timeout
        # Read this before the output: no output follows the end.
        has_ended = channel.eof_received or channel.closed
        pieces = []
        try:
            if channel.recv_ready():
                pieces.append((STDOUT, channel.recv(_CHUNK)))
            if channel.recv_stderr_ready():
                pieces.append((STDERR, channel.recv_stderr(_CHUNK)))
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._lost(error) from error
        if not pieces and has_ended:
            if not channel.get_transport().is_active():
                raise self._lost(ConnectionResetError("the SSH connection ended"))
            raise SessionEndedError("the resident shell ended.")
        return pieces

    def _wait(self, timeout: float) -> bool:
        """Return whether something came within a time limit.

        The descriptor only wakes this thread. paramiko has one for both streams and sets it without
        a lock, so it may not tell of a piece that comes while another one is read.
        """
        deadline = time.monotonic() + timeout
        while not self._has_news():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if self._poll.poll(min(left, _SLICE_SECONDS) * 1000) and not self._has_news():
                time.sleep(_PAUSE_SECONDS)
        return True

    def _has_news(self) -> bool:
        """Return whether there is output to read, or the end of the stream."""
        channel = self._channel
        return bool(
            channel.recv_ready()
            or channel.recv_stderr_ready()
            or channel.eof_received
            or channel.closed
        )

    def is_idle(self) -> bool:
        """Return whether the stream is open with nothing to read."""
        return (
            not self._is_closed
            and not self._has_news()
            and self._channel.get_transport().is_active()
        )

    def close_stdin(self) -> None:
        """End the shell's stdin."""
        try:
            self._channel.shutdown_write()
        except (paramiko.SSHException, EOFError) as error:
            raise self._lost(error) from error

    def hang_up(self) -> None:
        """Do nothing: a read notices by itself that the VM has died."""

    def close(self) -> None:
        """End the stream, and so the shell."""
        self._is_closed = True
        self._channel.close()

    def set_terminal_size(self) -> None:
        """Do nothing: no shell of a VM is on a terminal."""

    def check_start(self, output: bytes) -> None:
        """Raise the reason why the shell has not answered; see `ShellStream.check_start`."""
        if self._channel.exit_status_ready() and self._channel.recv_exit_status() in _NO_SHELL:
            raise NoSessionError(f"VM '{self._machine.name}' has no suitable sh, or no setsid")

    def _look(self) -> None:
        """Raise SessionEndedError if the VM has died: its connection may look alive."""
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        try:
            self._machine.check()
        except VmError as error:
            raise SessionEndedError(str(error)) from error

    def _lost(self, error: BaseException) -> SshLostError:
        return SshLostError(f"VM '{self._machine.name}'", error)


class _NoWatch:
    """Watch that does nothing: the stream notices by itself that the VM has died."""

    def end(self) -> None:
        """Do nothing."""


class VmHost:
    """Virtual machine in which resident shells run; see `ShellHost`.

    Args:
        machine: The VM.
        connect: Returns the SSH connection to it.
        log: Log for messages that raise nothing.
    """

    def __init__(self, machine: MicroVm, connect: Connect, log: Logger) -> None:
        """Connect to nothing yet."""
        self.name = machine.name
        self.log = log
        self._machine = machine
        self._connect = connect

    def look(self) -> Surroundings:
        """Return that sshd sets the variables, and that the `sh` of our images is dash."""
        return Surroundings(is_tested=not self._machine.become_root)

    def open(self, user: str, terminal: bool) -> ChannelStream:
        """Start a resident shell of root."""
        if self._machine.become_root:
            channel = self._start(_start_of_shell(self._machine.become_root))
        else:
            # The login shell is the resident shell. The list of processes shows its command line.
            channel = self._start(SHELL_TEXT, SHELL_ENVIRONMENT)
        return ChannelStream(self._machine, channel)

    def miss_shell(self, error: ContainerError) -> None:
        """Raise why the VM is gone, or else the error: all commands need a resident shell."""
        raise self.death() or error

    def watch(self, hang_up: Callable[[], None]) -> _NoWatch:
        """Return a watch that does nothing."""
        return _NoWatch()

    def require_answer(self) -> None:
        """Return if the VM runs."""
        self._machine.check()

    def run_helper(self, argv: list[str], user: str) -> tuple[int, bytes]:
        """Run a short program as root, on a channel of its own."""
        output = LimitedOutput(_MOST_OUTPUT)
        with self._start(shlex.join([*self._machine.become_root, *argv])) as channel:
            channel.set_combine_stderr(True)
            channel.settimeout(CHANNEL_TIMEOUT)
            try:
                channel.shutdown_write()
                while piece := channel.recv(_CHUNK):
                    output.add(piece)
                return channel.recv_exit_status(), output.data
            except (paramiko.SSHException, EOFError, OSError) as error:
                raise SshLostError(f"VM '{self.name}'", error) from error

    def find_target(self, stream: ShellStream, run: Run, mark: str) -> Target | None:
        """Return None: there is no way to signal a command from outside."""
        return None

    def lost(self, error: SshLostError) -> BaseException:
        """Return why the VM is gone, or else the error itself."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while (died := self.death()) is None and time.monotonic() < deadline:
            time.sleep(0.02)
        return died or error

    def death(self) -> VmError | None:
        """Return the error that says why the VM is gone; None if it runs."""
        try:
            self._machine.check()
        except VmError as error:
            return error
        return None

    def was_out_of_memory(self, seconds: float) -> bool:
        """Return False: a VM has no limit but its memory."""
        return False

    def note_kills(self, count: int) -> None:
        """Do nothing: kills at a limit are not counted."""

    def late_start(self, seconds: float) -> BaseException:
        """Return the error for a command that did not start in time."""
        return self.death() or VmError(
            f"VM '{self.name}' did not start a command in {seconds:g} s: its processors are busy "
            "or paused, or it hangs. Its console may say why; reset() brings it back"
        )

    def _start(
        self, command: str, environment: Mapping[str, str] = MappingProxyType({})
    ) -> paramiko.Channel:
        """Start a command of the login shell; sshd must accept the variables of the environment."""
        transport = self._connect()
        try:
            channel = transport.open_session(timeout=CHANNEL_TIMEOUT)
            channel.update_environment(environment)
            channel.exec_command(command)
        except paramiko.ChannelException as error:
            raise VmError(
                f"VM '{self.name}' refused to start a command: {error}. Its sshd limits the number "
                "that run at a time (MaxSessions in /etc/ssh/sshd_config)"
            ) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise SshLostError(f"VM '{self.name}'", error) from error
        return channel


def _start_of_shell(become_root: list[str]) -> str:
    """Return the command that has a login shell become a resident shell of root.

    The sshd of a given disk passes on no variables, and the list of processes shows a command line.
    So the login shell sets the variable that has the resident shell's script.
    """
    names = ",".join(SHELL_ENVIRONMENT)
    assignments = (f"{name}={shlex.quote(text)}" for name, text in SHELL_ENVIRONMENT.items())
    words = [*become_root, f"--preserve-env={names}", *SHELL]
    return " ".join([*assignments, "exec", shlex.join(words)])
