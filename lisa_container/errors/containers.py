"""Errors about containers, their commands and their files."""

from __future__ import annotations

from collections.abc import Mapping

from lisa_container.errors.base import ContainerError
from lisa_container.errors.nodes import EngineError
from lisa_container.masking import mask_known


class NameTakenError(EngineError):
    """The node already has a container of this name.

    Args:
        container: Name of the container.
        node: Name of the node.
        message: Message of the engine.
    """

    def __init__(self, container: str, node: str, message: str) -> None:
        """Build the message."""
        super().__init__(
            f"the container name '{container}' is taken on node '{node}': {message} Choose "
            "another, or remove that container: "
            f"DockerAdvanced.remove_container('{container}', force=True)."
        )


class ContainerDiedError(EngineError):
    """The container does not run, or no longer.

    Args:
        container: Name of the container.
        node: Name of the node.
        reason: Exit code and what else is known.
        is_there: Whether the container still exists and has logs.
    """

    def __init__(self, container: str, node: str, reason: str, is_there: bool = True) -> None:
        """Build the message."""
        hint = (
            f"Its logs tell more: executor.logs(), or 'docker logs {container}' on the node."
            if is_there
            else "Its name may be wrong, or it was removed meanwhile."
        )
        super().__init__(f"container '{container}' on node '{node}' does not run: {reason}. {hint}")


class FleetError(ContainerError):
    """Some members of a fleet have failed.

    Args:
        what: What has failed.
        reasons: Reason by the name of each member that has failed.
        count: Number of members asked.
    """

    def __init__(self, what: str, reasons: Mapping[str, str], count: int) -> None:
        """Build the message: one line for each member that has failed."""
        self.reasons = dict(reasons)
        lines = "\n".join(f"- {name}: {reason}" for name, reason in sorted(reasons.items()))
        super().__init__(f"{what} in {len(reasons)} of {count} members of the fleet:\n{lines}")


class ContainerStartError(ContainerDiedError):
    """A container did not start, or was not ready in time. `start` removes such a container.

    Args:
        container: Name of the container.
        node: Name of the node.
        reason: Exit code or failed check, and the end of the container's output.
    """

    def __init__(self, container: str, node: str, reason: str) -> None:
        """Build the message."""
        EngineError.__init__(
            self, f"container '{container}' on node '{node}' did not start: {reason}"
        )


class CommandNotStartedError(ContainerError):
    """A command in a container could not be started, and its program is not the cause.

    A program that does not exist or cannot be executed raises no error: the exit code is 127 or
    126, as in a shell.

    Args:
        command: Command line.
        container: Name of the container.
        reason: Message of the engine, and the remedy.
    """

    def __init__(self, command: str, container: str, reason: str) -> None:
        """Build the message and keep the reason."""
        self.reason = reason
        super().__init__(
            f"command '{command}' could not be started in container '{container}': {reason}"
        )


class KilledCommandError(ContainerError):
    """Base of the errors of a command that had to be killed; the message says whether it was.

    Args:
        before: Message up to what became of the command.
        after: Message after that.
        survived: Why the command could not be killed; empty if it was killed. None until that is
            known; see `note_end`.
    """

    survived: str | None = None

    def __init__(self, before: str, after: str = "", survived: str | None = None) -> None:
        """Build the message."""
        self._before, self._after = before, after
        self.survived = survived
        super().__init__(self._message)

    @property
    def end(self) -> str:
        """End of the command for a message, such as "was killed"."""
        if self.survived is None:
            return "is being killed"
        if self.survived:
            return f"could not be killed and may still run ({self.survived})"
        return "was killed"

    def note_end(self, survived: str) -> None:
        """Have the message say what became of the command.

        Args:
            survived: Why the command could not be killed; empty if it was killed.
        """
        self.survived = survived
        self.args = (mask_known(self._message),)

    @property
    def _message(self) -> str:
        return f"{self._before}{self.end}{self._after}"


class CommandTimeoutError(KilledCommandError, TimeoutError):
    """A command in a container exceeded its time limit; its processes were killed.

    Args:
        command: Command line.
        timeout: Time limit, in seconds.
        stdout: Output so far.
        stderr: Error output so far.
        survived: See `KilledCommandError`.
    """

    def __init__(
        self, command: str, timeout: float, stdout: str, stderr: str, survived: str | None = None
    ) -> None:
        """Build the message and keep the output."""
        self.timeout = timeout
        self.stdout = stdout
        self.stderr = stderr
        super().__init__(
            f"command '{command}' {self._late} and ",
            f". So far on stdout:\n{stdout}\non stderr:\n{stderr}",
            survived,
        )

    @property
    def outcome(self) -> str:
        """Outcome of the command for a message: "did not end in … seconds and …"."""
        return f"{self._late} and {self.end}"

    @property
    def _late(self) -> str:
        return f"did not end in {self.timeout:g} seconds"


class OutputLimitError(KilledCommandError):
    """A command wrote more than a result may hold, so it was killed.

    Args:
        command: Command line.
        limit: Largest size of one stream in a result, in bytes.
    """

    def __init__(self, command: str, limit: int) -> None:
        """Build the message."""
        super().__init__(
            f"command '{command}' wrote more than {limit >> 20} MiB to one stream, the most that a "
            "result holds, and ",
            ". Give a path or a callback for its output, or keep_output=False.",
        )


class LogLimitError(OutputLimitError):
    """The log of a container is larger than a result may be, so it was not read to its end.

    Args:
        container: Name of the container.
        limit: Largest size of a log, in bytes.
    """

    def __init__(self, container: str, limit: int) -> None:
        """Build the message."""
        ContainerError.__init__(
            self,
            f"the log of container '{container}' has more than {limit >> 20} MiB, the most that is "
            "read. Read its end: logs(tail=1000), for example.",
        )


class WaitTimeoutError(ContainerError, TimeoutError):
    """A container did not end in time; it runs on.

    Args:
        container: Name of the container.
        node: Name of the node.
        timeout: Time limit, in seconds.
    """

    def __init__(self, container: str, node: str, timeout: float) -> None:
        """Build the message."""
        super().__init__(
            f"container '{container}' on node '{node}' did not end in {timeout:g} seconds. It "
            f"still runs; DockerAdvanced.stop('{container}') or kill('{container}') ends it."
        )


class KillError(ContainerError):
    """A signal did not reach a command in a container or virtual machine, which may still run.

    Args:
        place: Name of the container or virtual machine.
        number: Signal number, signal(7).
        reason: Cause.
        survivors: Processes that SIGKILL did not end, if this is the cause.
    """

    def __init__(self, place: str, number: int, reason: str, survivors: str = "") -> None:
        """Build the message and keep the survivors."""
        self.survivors = survivors
        cause = f"{reason}: {survivors}" if survivors else reason
        super().__init__(
            f"signal {number} did not reach a command in '{place}': {cause}. It may still run; "
            "'docker kill' of the container, or a reset of the virtual machine, ends it."
        )


class InterruptedRunError(KilledCommandError):
    """Ctrl-C interrupted the run during a command in a container, so the command was killed."""

    def __init__(self) -> None:
        """Build the message."""
        super().__init__("the run was interrupted; the command ", " in its container")


class CopyError(ContainerError):
    """A file could not be copied into or out of a container.

    Args:
        path: Path that the problem is about.
        reason: Cause.
    """

    def __init__(self, path: str, reason: str) -> None:
        """Build the message."""
        super().__init__(f"cannot copy '{path}': {reason}")


class CopyNotFoundError(CopyError, FileNotFoundError):
    """The source or the target of a copy does not exist."""


class CopyDeniedError(CopyError, PermissionError):
    """The permissions of a file do not allow to read or write it."""


class NoShellError(ContainerError):
    """The image of a guest has no shell, which LISA needs on every node.

    Args:
        container: Name of the container.
        image: Name of the image.
    """

    def __init__(self, container: str, image: str) -> None:
        """Build the message."""
        super().__init__(
            f"container '{container}' cannot be a guest: its image '{image}' has no shell ('sh'), "
            "through which LISA runs its commands. Take an image with one, or run programs of this "
            "image in a suite, without a shell: container.run([program, argument])."
        )
