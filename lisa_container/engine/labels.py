"""The labels by which what a run created on a node is told from everything else there."""

from __future__ import annotations

import secrets

from lisa.util import constants

RUN_LABEL = "lisa_container.run"
"""On everything created, images kept as a cache included: the id of the LISA run."""

LEASE_LABEL = "lisa_container.lease"
"""On everything that goes when the run does: the id of its lease (`engine/lease`)."""

RUNNER_LABEL = "lisa_container.runner"
"""Who made it: `user@host:pid` of the process that runs LISA."""

SINCE_LABEL = "lisa_container.since"
"""When its lease began, by the runner's clock: ISO 8601, UTC."""

_fallback = secrets.token_hex(4)


def run_id() -> str:
    """This run's id: LISA's own, or a random one where LISA runs as a library."""
    return str(getattr(constants, "RUN_ID", "") or _fallback)
