"""Errors about a node, its engine and the connection to it."""

from __future__ import annotations

from lisa_container.errors.base import ContainerError
from lisa_container.escaping import quote_output


class EngineError(ContainerError):
    """The container engine of a node refused, failed or could not be reached."""


class EngineTimeoutError(EngineError, TimeoutError):
    """The container engine of a node did not answer in time.

    Args:
        node: Name of the node.
        what: What the engine did not do, as in "did not …".
        seconds: Time limit, in seconds.
        reason: The cause and the next step, if they are known.
    """

    def __init__(self, node: str, what: str, seconds: float, reason: str = "") -> None:
        """Build the message."""
        reason = reason or ("it hangs or is overloaded. Look at its log, and at the node's load.")
        super().__init__(
            f"the engine of node '{node}' did not {what} in {seconds:g} seconds: {reason}"
        )


class EngineNotFoundError(EngineError):
    """No container engine answers on the node."""


class EngineMissingError(EngineNotFoundError):
    """No container engine is installed on the node."""


class SshLostError(EngineError, ConnectionError):
    """The SSH connection to the node broke while it was needed.

    Args:
        node: Name or address of the node.
        cause: Error of paramiko or of the system.
    """

    def __init__(self, node: str, cause: BaseException) -> None:
        """Build the message and keep the cause."""
        self.cause = cause
        super().__init__(
            f"the SSH connection to {node} was lost: {cause.__class__.__name__}: {cause}. A "
            "command that was running may still run on the node. Check that the node is up and "
            "reachable."
        )


class UnreachableError(EngineError):
    """The node does not answer, or refuses the login; the message says what to check."""


class SudoError(EngineError):
    """sudo on the node refused.

    Args:
        reason: Message of sudo.
    """

    def __init__(self, reason: str) -> None:
        """Build the message."""
        super().__init__(
            f"sudo on the node failed: {reason}. Give the node's user a password in the runbook "
            "('password:'), allow it sudo without one, or add it to the engine's group (docker)."
        )


class NoSpaceError(EngineError):
    """The node's disk is full.

    Args:
        node: Name of the node.
        message: Message of the engine.
    """

    def __init__(self, node: str, message: str) -> None:
        """Build the message."""
        quoted = quote_output(message)
        super().__init__(
            f"no space is left on node '{node}': {quoted.rstrip('.')}. Free some there ('docker "
            "system df', 'docker system prune'), or give the node a larger disk."
        )


class SandboxError(ContainerError):
    """A sandbox, throw-away nodes on this machine, could not be made, used or removed."""


class SandboxMachineError(SandboxError):
    """This machine cannot have a sandbox as it is; the message names the remedy."""


class PackageSourceError(ContainerError):
    """This machine's apt has no source for the packages; the message names the remedy."""


class BootstrapError(ContainerError):
    """A root file system of packages could not be made."""
