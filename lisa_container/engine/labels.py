"""The labels by which what a run created on a node is told from everything else there."""

from __future__ import annotations

import secrets

from lisa.util import constants

RUN_LABEL = "lisa_container.run"
"""On everything created: the id of the LISA run."""

_fallback = secrets.token_hex(4)


def run_id() -> str:
    """This run's id: LISA's own, or a random one where LISA runs as a library."""
    return str(getattr(constants, "RUN_ID", "") or _fallback)


def run_labels() -> dict[str, str]:
    """Labels for anything this run creates."""
    return {RUN_LABEL: run_id()}
