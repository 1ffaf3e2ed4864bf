"""Commands in a virtual machine, by its resident shells."""

from __future__ import annotations

from dataclasses import replace

from lisa.util.logger import Logger

from lisa_container.container.command import RunningCommand
from lisa_container.container.output import Output
from lisa_container.container.process import ContainerProcess
from lisa_container.container.request import CommandRequest, Sinks
from lisa_container.container.result import CommandResult
from lisa_container.container.session import SessionPool
from lisa_container.container.session.protocol import LONGEST_REQUEST, LONGEST_STDIN
from lisa_container.errors import VmError
from lisa_container.microvm.shell import VmHost
from lisa_container.recording.container import ContainerCapture

# A request has some lines around the command.
_LONGEST_COMMAND = LONGEST_REQUEST - 1024


class VmPlace:
    """Virtual machine in which commands run; see `CommandPlace`.

    Args:
        host: Host of the resident shells.
    """

    def __init__(self, host: VmHost) -> None:
        """Start no shell yet."""
        self.name = host.name
        self._host = host
        self._sessions = SessionPool(host, self._refuse)

    @property
    def log(self) -> Logger:
        """Log for messages that raise nothing."""
        return self._host.log

    def start(self, request: CommandRequest, sinks: Sinks, is_read: bool) -> ContainerProcess:
        """Start a command in a resident shell."""
        stdin = request.stdin
        if stdin is None or (isinstance(stdin, bytes) and len(stdin) <= LONGEST_STDIN):
            return self._sessions.start(request, sinks, is_read)
        # The caller feeds the rest while this object reads the output.
        fed = replace(request, stdin=None, interactive=True)
        process = self._sessions.start(fed, sinks, is_read=True)
        process.takes_stdin = True
        return process

    def death(self) -> BaseException | None:
        """Return the error that says why the VM is gone; None if it runs."""
        return self._host.death()

    def drop(self) -> None:
        """End the shells that wait for work."""
        self._sessions.drop()

    def _refuse(self, request: CommandRequest, sinks: Sinks, has_mark: bool) -> ContainerProcess:
        if "\0" in request.text:
            reason = "it has a NUL character, which no command line can have"
        elif len(request.text.encode(errors="surrogateescape")) > _LONGEST_COMMAND:
            reason = (
                f"it is longer than {_LONGEST_COMMAND} bytes; write it into a file with "
                "write_file, and run that"
            )
        else:
            reason = (
                "no resident shell could be started: it needs the VM's 'sh' (dash, bash or "
                "busybox) and 'setsid'"
            )
        text = request.text if len(request.text) < 200 else f"{request.text[:200]}…"
        raise VmError(f"command {text!r} cannot run in VM '{self.name}': {reason}")


class VmCommand:
    """Command that runs in a virtual machine as root; its stdin is open.

    Args:
        place: The VM.
        command: Command for the VM's `sh -c`.
        capture: Records the command.

    Raises:
        VmError: The VM did not start the command.
        SshLostError: The connection broke.
    """

    def __init__(self, place: VmPlace, command: str, capture: ContainerCapture) -> None:
        """Start the command."""
        self._stdout, self._stderr = Output(), Output()
        request = CommandRequest(command, interactive=True)
        self._running = RunningCommand(place, request, self._stdout, self._stderr, capture)

    @property
    def is_running(self) -> bool:
        """Whether the command runs, or its output is still coming."""
        return self._running.running

    @property
    def stdout(self) -> str:
        """Output so far."""
        return self._stdout.kept.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        """Error output so far."""
        return self._stderr.kept.decode("utf-8", "replace")

    def write(self, data: bytes | str) -> None:
        """Write to the command's stdin.

        Args:
            data: Bytes or text.

        Raises:
            OSError: The command has ended.
        """
        encoded = data.encode(errors="surrogateescape") if isinstance(data, str) else data
        self._running.write(encoded)

    def close_stdin(self) -> None:
        """End the command's stdin."""
        self._running.close_stdin()

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
        return self._running.wait(timeout)

    def kill(self) -> None:
        """Kill the command and all its descendants, and wait for their end.

        Raises:
            KillError: A process of the command still runs.
        """
        self._running.kill()
