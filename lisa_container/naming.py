"""Name of a node in messages."""

from __future__ import annotations

from lisa.node import Node


def node_name(node: Node) -> str:
    """Return the node's name, or its address if the runbook gives no name."""
    if node.name:
        return str(node.name)
    info = getattr(node, "connection_info", None)
    return f"{info['address']}:{info['port']}" if info else "local"
