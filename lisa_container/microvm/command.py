"""Command in a virtual machine, over an SSH connection that is open already."""

from __future__ import annotations

import shlex
import signal
import threading
import time
from contextlib import suppress
from typing import Callable

import paramiko

from lisa_container.container.result import CommandResult
from lisa_container.engine.ssh import CHANNEL_TIMEOUT, read_command
from lisa_container.errors import CommandTimeoutError, SshLostError, VmError
from lisa_container.microvm.vm import MicroVm

_CHUNK = 1 << 16
# Seconds between two looks whether the VM still is there, and to wait for the end of a killed
# command.
_LOOK_SECONDS = 0.5
_KILL_SECONDS = 10.0
# Exit code of a shell for a command that a signal ended: this and the signal's number.
_BY_SIGNAL = 128


class VmCommand:
    """Command that runs in a virtual machine as root.

    Args:
        vm: The running VM.
        transport: SSH connection to it.
        command: Command for the VM's `sh -c`.

    Raises:
        VmError: sshd refused the command.
        SshLostError: The connection broke.
    """

    def __init__(self, vm: MicroVm, transport: paramiko.Transport, command: str) -> None:
        """Start the command."""
        self._vm = vm
        self._transport = transport
        self._command = command
        self._stdout, self._stderr = bytearray(), bytearray()
        self._ended = threading.Event()
        self._started = time.monotonic()
        # The first line is the id of the process group, for `kill`.
        script = f"read -r _ _ _ _ g _ </proc/$$/stat; echo $g; sh -c {shlex.quote(command)}"
        try:
            self._channel = transport.open_session(timeout=CHANNEL_TIMEOUT)
            self._channel.exec_command(shlex.join([*vm.become_root, "sh", "-c", script]))
        except paramiko.ChannelException as error:
            raise VmError(
                f"VM '{vm.name}' refused to start a command: {error}. Its sshd allows ten at a time"
            ) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise SshLostError(f"VM '{vm.name}'", error) from error
        threading.Thread(target=self._read, name=f"command in {vm.name}", daemon=True).start()

    @property
    def is_running(self) -> bool:
        """Whether the command runs, or its output is still coming."""
        return not self._ended.is_set()

    @property
    def stdout(self) -> str:
        """Output so far."""
        return _text(self._stdout.partition(b"\n")[2])

    @property
    def stderr(self) -> str:
        """Error output so far."""
        return _text(self._stderr)

    def write(self, data: bytes | str) -> None:
        """Write to the command's stdin.

        Args:
            data: Bytes or text.

        Raises:
            OSError: The command has ended.
        """
        encoded = data.encode(errors="surrogateescape") if isinstance(data, str) else data
        self._channel.sendall(encoded)

    def close_stdin(self) -> None:
        """End the command's stdin."""
        with suppress(OSError):  # the command has ended
            self._channel.shutdown_write()

    def wait(self, timeout: float | None = 600) -> CommandResult:
        """Wait for the end of the command and of its output.

        Args:
            timeout: Seconds until the command is killed; None means no limit.

        Raises:
            CommandTimeoutError: Time was up; the error has the output so far.
            VmDiedError: The VM's QEMU has ended.
            VmPanicError: The VM's kernel panicked.
            SshLostError: The connection broke; the command may still run.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._ended.wait(_left(deadline)):
            self._vm.check()
            if deadline is not None and time.monotonic() >= deadline:
                survived = ""
                try:
                    self.kill()
                except VmError as error:
                    survived = str(error)
                raise CommandTimeoutError(
                    self._command, timeout or 0, self.stdout, self.stderr, survived
                )
        code = self._channel.recv_exit_status()
        if code < 0 and not self._transport.is_active():
            self._vm.check()
            where = f"VM '{self._vm.name}'"
            raise SshLostError(where, ConnectionError("the connection was closed"))
        out, err = bytes(self._stdout.partition(b"\n")[2]), bytes(self._stderr)
        return CommandResult(
            _text(out).strip(),
            _text(err).strip(),
            # paramiko does not tell which signal ended the command's shell; `kill` sends this one.
            code if code >= 0 else _BY_SIGNAL + signal.SIGKILL,
            self._command,
            self._vm.name,
            time.monotonic() - self._started,
            stdout_bytes=out,
            stderr_bytes=err,
        )

    def kill(self) -> None:
        """Kill the command's process group and wait for its end; do nothing if it has ended.

        Raises:
            VmError: A process of the command still runs.
        """
        if not self.is_running:
            return
        group = self._stdout.partition(b"\n")[0].decode()
        if group:
            with suppress(paramiko.SSHException, EOFError, OSError):
                kill = shlex.join([*self._vm.become_root, "kill", "-s", "KILL", "--", f"-{group}"])
                read_command(self._transport, kill)
        if not self._ended.wait(_KILL_SECONDS):
            raise VmError(
                f"command '{self._command}' in VM '{self._vm.name}' was killed, and its output has "
                f"not ended {_KILL_SECONDS:g} s later: a process that it started in a session of "
                "its own holds the output. Reset the VM"
            )

    def _read(self) -> None:
        stdout = threading.Thread(
            target=_copy, args=(self._channel.recv, self._stdout), daemon=True
        )
        stdout.start()
        _copy(self._channel.recv_stderr, self._stderr)
        stdout.join()
        self._channel.recv_exit_status()
        self._ended.set()


def _copy(receive: Callable[[int], bytes], output: bytearray) -> None:
    with suppress(OSError):  # the connection broke; `wait` reports that
        while piece := receive(_CHUNK):
            output += piece


def _left(deadline: float | None) -> float:
    if deadline is None:
        return _LOOK_SECONDS
    return max(0.0, min(_LOOK_SECONDS, deadline - time.monotonic()))


def _text(output: bytes | bytearray) -> str:
    return output.decode("utf-8", "replace")
