"""Output compared with what it was before: `assert_output_matches`, and snapshots on disk."""

from __future__ import annotations

from lisa_container.capture.snapshot.check import assert_output_matches
from lisa_container.capture.snapshot.place import UPDATE_ENVIRONMENT, UPDATE_VARIABLE, snapshots_of

__all__ = ["UPDATE_ENVIRONMENT", "UPDATE_VARIABLE", "assert_output_matches", "snapshots_of"]
