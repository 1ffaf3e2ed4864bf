"""Errors of the toolbox for tests of container runtimes."""

from __future__ import annotations

from collections.abc import Sequence

from lisa_container.errors.base import ContainerError
from lisa_container.escaping import quote_output


class RuntimeMachineError(ContainerError):
    """A machine cannot be used for tests of runtimes as it is; the message names the remedy."""


class RuntimeCommandError(ContainerError):
    """A command on the machine under test failed: of a runtime, or one that prepares a test.

    Args:
        what: Action that failed, as in "cannot …".
        machine: Name of the machine.
        output: Output of the command.
        exit_code: Exit code of the command.
    """

    def __init__(self, what: str, machine: str, output: str, exit_code: int) -> None:
        """Build the message and keep the exit code."""
        self.exit_code = exit_code
        super().__init__(
            f"cannot {what} on '{machine}' (exit code {exit_code}): {quote_output(output)}"
        )


class NodeStateError(ContainerError, AssertionError):
    """The state of a machine was not the expected one, and did not become so in time.

    Args:
        machine: Name of the machine.
        expected: Expected state.
        found: State at the last look.
        since: When the first look was, as text.
        tries: Number of looks.
        seconds: Seconds between the first look and the last one.
    """

    def __init__(
        self, machine: str, expected: str, found: str, since: str, tries: int, seconds: float
    ) -> None:
        """Build the message."""
        super().__init__(
            f"'{machine}': expected {expected}; there is {found}. {_looked(since, tries, seconds)}."
        )


class LeakError(NodeStateError):
    """Something that was started or made on a machine is still there, or something is missing.

    Args:
        machine: Name of the machine.
        leaks: One line for each difference.
        since: When the first look was, as text.
        tries: Number of looks.
        seconds: Seconds between the first look and the last one.
    """

    def __init__(
        self, machine: str, leaks: Sequence[str], since: str, tries: int, seconds: float
    ) -> None:
        """Build the message and keep the differences."""
        self.leaks = tuple(leaks)
        lines = "".join(f"\n- {leak}" for leak in leaks)
        ContainerError.__init__(
            self,
            f"'{machine}' is not as before: {len(leaks)} difference{'s' * (len(leaks) != 1)}. "
            f"{_looked(since, tries, seconds)}:{lines}",
        )


def _looked(since: str, tries: int, seconds: float) -> str:
    times = "once" if tries == 1 else f"{tries} times in {seconds:.1f} s"
    return f"Looked {times}, since {since}"


class HandlerError(ContainerError):
    """A handler could not be deployed, invoked or removed."""


class HandlerExistsError(HandlerError):
    """A handler of this name is in the registry already.

    Args:
        name: Name of the handler.
        machine: Name of the machine.
    """

    def __init__(self, name: str, machine: str) -> None:
        """Build the message."""
        super().__init__(
            f"handler '{name}' is in the registry of '{machine}' already: remove it first, or "
            "choose another name"
        )


class HandlerNotFoundError(HandlerError):
    """No handler of this name is in the registry.

    Args:
        name: Name of the handler.
        machine: Name of the machine.
        names: Names of the handlers that are there.
    """

    def __init__(self, name: str, machine: str, names: Sequence[str]) -> None:
        """Build the message."""
        listed = ", ".join(names) or "none"
        super().__init__(f"no handler '{name}' is in the registry of '{machine}'; it has: {listed}")
