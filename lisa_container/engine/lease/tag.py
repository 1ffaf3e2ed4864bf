"""The id of a node's lease, known before the lease itself is made."""

from __future__ import annotations

import secrets

from lisa.node import Node

TAG = "LISA_CONTAINER_LEASE"
"""The environment variable of all processes on a node that end with the lease; its value is the id.
A container's processes do not carry it: they end with their container."""

_SLOT = "_lisa_container_lease_id"


def lease_id(node: Node) -> str:
    """The id of a node's lease, 16 hex digits; it may not be armed yet."""
    return str(vars(node).setdefault(_SLOT, secrets.token_hex(8)))


def forget_id(node: Node) -> None:
    """Have another id from now on: no lease is made twice."""
    vars(node).pop(_SLOT, None)
