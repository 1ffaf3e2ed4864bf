"""What to call a node in a message."""

from __future__ import annotations

from lisa.node import Node


def node_name(node: Node) -> str:
    """The node's name, or its address where the runbook gives none."""
    if node.name:
        return str(node.name)
    info = getattr(node, "connection_info", None)
    return f"{info['address']}:{info['port']}" if info else "local"
