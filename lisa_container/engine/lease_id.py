"""Id of a node's lease, which is known before the lease is made."""

from __future__ import annotations

import secrets

from lisa.node import Node

TAG = "LISA_CONTAINER_LEASE"
"""Environment variable of all processes on a node that end with the lease; its value is the id.
Processes in containers do not have it, since they end with their container."""

_SLOT = "_lisa_container_lease_id"


def lease_id(node: Node) -> str:
    """Return the id of a node's lease, 16 hex digits. The lease may not exist yet."""
    return str(vars(node).setdefault(_SLOT, secrets.token_hex(8)))


def forget_id(node: Node) -> None:
    """Use a new id from now on, since no lease is made twice."""
    vars(node).pop(_SLOT, None)
