"""Protocols of what resident shells run in: a container or a virtual machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Callable, Protocol

from lisa.util.logger import Logger

from lisa_container.container.signals import Run, Target
from lisa_container.errors import ContainerError, SshLostError


@dataclass(frozen=True)
class Surroundings:
    """Facts about a host that decide whether a shell can serve it.

    Args:
        variables: Names of the environment variables that a command is to see.
        counts_kills: Whether the kernel counts kills at a memory limit there.
        is_tested: Whether its `sh` is known to be suitable, so that no shell tests itself.
    """

    variables: Sequence[str] = ()
    counts_kills: bool = False
    is_tested: bool = False


class ShellStream(Protocol):
    """Connection to a resident shell: its stdin, stdout and stderr."""

    def send(self, data: bytes, timeout: float | None = None) -> None:
        """Send bytes to the shell's stdin.

        Args:
            data: The bytes.
            timeout: Time limit, in seconds; None means no limit.

        Raises:
            OSError: The data could not be sent completely. (`SshLostError` is an OSError, too.)
        """

    def read(self, timeout: float) -> Iterable[tuple[int, bytes]]:
        """Return the next pieces of output, each with the number of its stream.

        Args:
            timeout: Time limit, in seconds.

        Raises:
            socket.timeout: Nothing came in time.
            SessionEndedError: The shell has ended.
            SshLostError: The connection broke.
        """

    def is_idle(self) -> bool:
        """Return whether the stream is open with nothing to read."""

    def close_stdin(self) -> None:
        """End the shell's stdin."""

    def hang_up(self) -> None:
        """End the stream at once, so that a thread that reads returns."""

    def close(self) -> None:
        """End the stream, and so the shell."""

    def set_terminal_size(self) -> None:
        """Set the size of the shell's terminal."""

    def check_start(self, output: bytes) -> None:
        """Raise the reason why the shell has not answered, if it is known.

        Args:
            output: Output that came instead of an answer.

        Raises:
            NoUserError: The user is unknown.
            NoSessionError: There is no suitable shell.
        """


class Watched(Protocol):
    """Watch of a host while a command runs there."""

    def end(self) -> None:
        """End the watch."""


class ShellHost(Protocol):
    """Container or virtual machine that resident shells run in."""

    @property
    def name(self) -> str:
        """Name for messages."""

    @property
    def log(self) -> Logger:
        """Log for messages that raise nothing."""

    def look(self) -> Surroundings:
        """Return the facts that decide whether a shell can serve the host."""

    def open(self, user: str, terminal: bool) -> ShellStream:
        """Start a resident shell.

        Args:
            user: User of the shell; the host's own by default.
            terminal: Whether the shell is on a terminal.

        Raises:
            ContainerError: The shell cannot be started.
        """

    def miss_shell(self, error: ContainerError) -> None:
        """Return if commands can run without a resident shell, which could not be started.

        Args:
            error: Why it could not be started.

        Raises:
            ContainerError: They cannot.
        """

    def watch(self, hang_up: Callable[[], None]) -> Watched:
        """Watch the host until the result's `end`.

        Args:
            hang_up: Called when the host has died. It must not wait.
        """

    def require_answer(self) -> None:
        """Return if the host can be asked to run something beside the shell.

        Raises:
            ContainerError: It cannot.
        """

    def run_helper(self, argv: list[str], user: str) -> tuple[int, bytes]:
        """Run a short program beside the shell; return its exit code and output.

        Args:
            argv: Program and arguments.
            user: User who runs the program; the host's own if empty.
        """

    def find_target(self, stream: ShellStream, run: Run, mark: str) -> Target | None:
        """Return a command as the node sees it, to signal it from there; None if that is no way.

        Args:
            stream: Stream of the command's shell.
            run: Function that runs a program in the host.
            mark: Mark of the command's processes; empty if it is not known.
        """

    def lost(self, error: SshLostError) -> BaseException:
        """Return the error for a command whose connection broke.

        Args:
            error: Error of the stream.
        """

    def death(self) -> BaseException | None:
        """Return the error that says why the host is gone; None if it is there."""

    def was_out_of_memory(self, seconds: float) -> bool:
        """Return whether the kernel killed a process at the host's memory limit.

        Args:
            seconds: How far to look back, in seconds.

        Raises:
            ContainerDiedError: The host died meanwhile.
            EngineError: The host cannot be asked.
        """

    def note_kills(self, count: int) -> None:
        """Note the number of kills at the memory limit that the kernel has counted."""

    def late_start(self, seconds: float) -> BaseException:
        """Return the error for a command that did not start in time.

        Args:
            seconds: The time limit, in seconds.
        """
