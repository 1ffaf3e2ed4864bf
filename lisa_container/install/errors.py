"""What can go wrong with a tool; each its own error, that says what to do next."""

from __future__ import annotations

from lisa_container.errors import ContainerError


class ToolError(ContainerError):
    """A tool could not be had in a container, for a reason that no more special error names.

    Args:
        tool: its name.
        container: where it was to go.
        reason: the cause and the next step.
        log: the whole log, a file on this machine; empty where there is none.
    """

    def __init__(self, tool: str, container: str, reason: str, log: str = "") -> None:
        self.tool = tool
        self.container = container
        self.log = log
        whole = f" The whole log: {log}" if log else ""
        super().__init__(f"tool '{tool}' in container '{container}': {reason}{whole}")


class ToolManagerError(ToolError):
    """The image has no package manager that could install it."""


class ToolNotFoundError(ToolError):
    """No source of the manager has such a package."""


class ToolVersionError(ToolError):
    """The package is there, but not in that version."""


class ToolConflictError(ToolError):
    """It does not go together with what is installed already, or with itself."""


class ToolNoSpaceError(ToolError):
    """There is no space for it in the container or on the node."""


class ToolUnreachableError(ToolError):
    """Where it should come from did not answer soundly, again and again."""


class ToolTimeoutError(ToolError, TimeoutError):
    """A command of its manager did not end in the time that was allowed; it was killed."""


class ToolUntrustedError(ToolError):
    """Where it should come from is not trusted: its certificate, or a signature."""


class ToolUnauthorizedError(ToolError):
    """Where it should come from wants other credentials."""


class ToolChecksumError(ToolError):
    """What was fetched is not what the checksum stands for. Nothing of it was run."""


class ToolVerifyError(ToolError):
    """It was installed, as its manager says, but the verifier says that it is not ready."""
