"""A container as a LISA node."""

from __future__ import annotations

from lisa_container.node.container_node import ContainerNode

__all__ = ["ContainerNode"]
