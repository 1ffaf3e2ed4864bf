"""When containers stay on their nodes."""

from __future__ import annotations

from lisa.node import Node
from lisa.util import constants

from lisa_container.config import ContainerTestConfig, KeepContainers
from lisa_container.config.current import current_settings


def keep_containers_of(config: ContainerTestConfig, node: Node) -> KeepContainers:
    """Return when a container stays: as its config, the run's settings or the platform ask for.

    If they differ, the one that keeps more counts.

    Args:
        config: Config of the container.
        node: Node of the container.
    """
    asked = {
        config.keep_containers.value,
        current_settings().keep_containers.value,
        keep_environment_of(node),
    }
    kept = (each for each in (KeepContainers.ALWAYS, KeepContainers.FAILED) if each in asked)
    return next(kept, KeepContainers.NO)


def keep_environment_of(node: Node) -> str:
    """Return the setting `keep_environment` that the runbook has for a node's platform.

    Args:
        node: The node.

    Returns:
        `no`, `failed` or `always`.
    """
    features = getattr(node, "features", None)
    # Our platforms remember it if they do themselves what it asks for.
    asked = getattr(features._platform, "keep_environment", "") if features is not None else ""
    return asked or lisa_keeps(node)


def lisa_keeps(node: Node) -> str:
    """Return the setting `keep_environment` as LISA's runner sees it; see `keep_environment_of`."""
    features = getattr(node, "features", None)
    runbook = features._platform.runbook if features is not None else None
    return str(getattr(runbook, "keep_environment", constants.ENVIRONMENT_KEEP_NO))
