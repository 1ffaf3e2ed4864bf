"""Tools in containers: `executor.install(Tool("jq"))`.

A tool is installed by a package manager of the image, or from a release; its verifier decides that
it is ready; its record says what came from where. See docs/tools.md.
"""

from __future__ import annotations

from lisa_container.install.errors import (
    ToolChecksumError,
    ToolConflictError,
    ToolError,
    ToolManagerError,
    ToolNoSpaceError,
    ToolNotFoundError,
    ToolTimeoutError,
    ToolUnauthorizedError,
    ToolUnreachableError,
    ToolUntrustedError,
    ToolVerifyError,
    ToolVersionError,
)
from lisa_container.install.layer import remove_layers
from lisa_container.install.managers import MANAGERS
from lisa_container.install.settings import PackageSettings
from lisa_container.install.tool import InstalledTool, Tool

__all__ = [
    "MANAGERS",
    "InstalledTool",
    "PackageSettings",
    "Tool",
    "ToolChecksumError",
    "ToolConflictError",
    "ToolError",
    "ToolManagerError",
    "ToolNoSpaceError",
    "ToolNotFoundError",
    "ToolTimeoutError",
    "ToolUnauthorizedError",
    "ToolUnreachableError",
    "ToolUntrustedError",
    "ToolVerifyError",
    "ToolVersionError",
    "remove_layers",
]
