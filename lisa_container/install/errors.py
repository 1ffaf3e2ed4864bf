"""Errors of an installation. Each message names the next step."""

from __future__ import annotations

from lisa_container.errors import ContainerError


class ToolError(ContainerError):
    """Base of all errors of an installation, raised itself if no subclass fits.

    Args:
        tool: name of the tool.
        container: name of the container.
        reason: the cause and the next step.
        log: path of the full log on this machine; empty if there is none.
    """

    def __init__(self, tool: str, container: str, reason: str, log: str = "") -> None:
        """Build the message."""
        self.tool = tool
        self.container = container
        self.log = log
        see_log = f" The full log: {log}" if log else ""
        super().__init__(f"tool '{tool}' in container '{container}': {reason}{see_log}")


class ToolManagerError(ToolError):
    """The image has no package manager that can install the tool."""


class ToolNotFoundError(ToolError):
    """No source of the package manager has such a package."""


class ToolVersionError(ToolError):
    """The package exists, but not in the requested version."""


class ToolConflictError(ToolError):
    """The package conflicts with an installed one, or its dependencies with each other."""


class ToolNoSpaceError(ToolError):
    """The container or the node has no space left."""


class ToolUnreachableError(ToolError):
    """The package source did not answer properly, even after several attempts."""


class ToolTimeoutError(ToolError, TimeoutError):
    """A command of the package manager exceeded its time limit and was killed."""


class ToolUntrustedError(ToolError):
    """The certificate or a signature of the package source is not trusted."""


class ToolUnauthorizedError(ToolError):
    """The package source rejected the credentials."""


class ToolChecksumError(ToolError):
    """The downloaded file does not have the expected checksum. It was not run."""


class ToolVerifyError(ToolError):
    """The package manager reported success, but the verifier failed."""
