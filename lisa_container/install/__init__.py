"""Install tools in containers: `executor.install(Tool("jq"))`.

A tool comes from a package manager of the image or from a release. Its verifier decides whether it
is ready, and its record names its origin. See docs/tools.md.
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
from lisa_container.install.installation import Installation
from lisa_container.install.layer import remove_layers
from lisa_container.install.managers import MANAGERS
from lisa_container.install.settings import PackageSettings
from lisa_container.install.tool import InstalledTool, Tool

__all__ = [
    "MANAGERS",
    "Installation",
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
