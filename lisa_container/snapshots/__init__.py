"""Compare outputs with snapshots on disk: `assert_output_matches`."""

from __future__ import annotations

from lisa_container.snapshots.check import assert_output_matches
from lisa_container.snapshots.place import (
    UPDATE_ENVIRONMENT,
    UPDATE_VARIABLE,
    snapshots_beside,
    snapshots_of,
)

__all__ = [
    "UPDATE_ENVIRONMENT",
    "UPDATE_VARIABLE",
    "assert_output_matches",
    "snapshots_beside",
    "snapshots_of",
]
