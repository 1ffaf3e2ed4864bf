"""Protocols of a place where commands run, and of a command that runs there."""

from __future__ import annotations

from typing import Protocol

from lisa.util.logger import Logger

from lisa_container.container.request import CommandRequest, Sinks


class CommandPlace(Protocol):
    """Place where commands run: a container or a virtual machine."""

    name: str
    """Name for messages and results."""

    @property
    def log(self) -> Logger:
        """Log for messages that raise nothing."""

    def start(self, request: CommandRequest, sinks: Sinks, is_read: bool) -> ContainerProcess:
        """Start a command.

        Args:
            request: Command to run.
            sinks: Receivers of its output.
            is_read: Read the output in a thread, also while the caller does not wait.

        Raises:
            ContainerError: The command cannot be started.
        """

    def death(self) -> BaseException | None:
        """Return the error that says why the place is gone; None if it is there."""


class ContainerProcess(Protocol):
    """Command that runs: in a resident shell, or by the engine's exec.

    Attributes:
        exit_code: Exit code of the command; None until it ended.
        refusal: Message of the engine if the program does not exist or cannot be executed.
        oom_killed: Whether the kernel killed a process of the command at the container's memory
            limit.
        left_processes: Whether the command left processes in the background.
        takes_stdin: Whether the stdin of the request is to be written to the command.
    """

    exit_code: int | None
    refusal: str
    oom_killed: bool
    left_processes: bool
    takes_stdin: bool

    @property
    def running(self) -> bool:
        """Whether the command runs, or its output is still coming."""

    def ends_within(self, seconds: float) -> bool:
        """Wait some seconds; return whether the command has ended, its output included."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the command has ended and its output was passed on.

        Args:
            timeout: Seconds; None means no limit.

        Returns:
            Whether the command ended in time.

        Raises:
            CommandNotStartedError: The command was not started, for another reason than its
                program.
            ContainerDiedError: The container died.
            SshLostError: The connection broke; the command may still run.
            EngineError: The engine failed.
        """

    def write(self, data: bytes) -> None:
        """Write to the command's stdin.

        Raises:
            OSError: The command or its stdin has ended.
        """

    def close_stdin(self) -> None:
        """End the command's stdin."""

    def signal(self, number: int) -> None:
        """Send a signal to the command's process group; do nothing if the command has ended.

        Args:
            number: Signal number, signal(7).

        Raises:
            KillError: The signal could not be sent.
        """

    def kill(self) -> None:
        """Kill the command and all its descendants, and wait until they are gone.

        Raises:
            KillError: A process could not be killed.
        """

    def kill_soon(self) -> None:
        """Kill the command in the background; a failure is logged."""

    def host_pid(self) -> int:
        """Return the command's process id; 0 if it has ended or the id is unknown."""
