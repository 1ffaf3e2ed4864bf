"""Image of the suites in this folder."""

from __future__ import annotations

from lisa_container import ContainerTestSuite

# Made on the node from its own static busybox.
DEFAULT = "lisa_container/busybox"


def container_image(suite: ContainerTestSuite) -> str:
    """Return the runbook's variable `container_image`, or the default image."""
    return str(suite.variables.get("container_image") or DEFAULT)
