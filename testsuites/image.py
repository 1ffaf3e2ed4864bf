"""Which image the suites of this folder use."""

from __future__ import annotations

from lisa_container import ContainerTestSuite

# Made on the spot of the node's own static busybox.
DEFAULT = "lisa_container/busybox"


def container_image(suite: ContainerTestSuite) -> str:
    """The runbook's variable `container_image`, if it has one."""
    return str(suite.variables.get("container_image") or DEFAULT)
