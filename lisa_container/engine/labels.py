"""Labels on everything that a run creates on a node."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from lisa.util import constants

RUN_LABEL = "lisa_container.run"
"""Id of the LISA run; on everything created, cached images included."""

LEASE_LABEL = "lisa_container.lease"
"""Id of the lease (`engine/lease`); on everything that is removed at the end of the run."""

RUNNER_LABEL = "lisa_container.runner"
"""`user@host:pid` of the process that runs LISA."""

SINCE_LABEL = "lisa_container.since"
"""Start of the lease by the runner's clock, ISO 8601 in UTC."""

OWNER_LABEL = "lisa_container.owner"
"""Numeric user id, on the node, of the owner of the lease's folder. Only leases of this user and of
root decide about the resource."""

MARK_LABEL = "lisa_container.container"
"""Unique value on each container. An image committed from a container inherits the value, and so do
that image's containers. A container with the same value as its image is therefore not ours. On an
image, it is the token by which the lease lists the image while it is made."""

NAME_LABEL = "lisa_container.name"
"""Name of an image that is removed at the end of the run; under other names it is not ours."""

TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
"""Format of a time, as in the label of a lease's start."""

_fallback = secrets.token_hex(4)


def run_id() -> str:
    """Return this run's id: LISA's own, or a random one if LISA is used as a library."""
    return str(getattr(constants, "RUN_ID", "") or _fallback)


def stage_label(labels: Mapping[str, str]) -> str:
    """Return the Dockerfile instruction that puts a build stage under a lease.

    Args:
        labels: the lease's labels for an image.
    """
    lease = labels.get(LEASE_LABEL, "")
    values = {LEASE_LABEL: lease, OWNER_LABEL: labels.get(OWNER_LABEL, ""), MARK_LABEL: lease}
    return "LABEL " + " ".join(f"{name}={value}" for name, value in values.items())
