"""Errors about what a run leaves: snapshots, and the index over all runs."""

from __future__ import annotations

from lisa_container.errors.base import ContainerError

# Names both ways, as a reader of a failed case knows at least one of them.
_UPDATE = (
    "run the case once with LISA_CONTAINER_UPDATE_SNAPSHOTS=1 in the environment (or the runbook's "
    "variable 'update_snapshots' true) and commit the file"
)


class SnapshotError(ContainerError):
    """A snapshot of an output cannot be read, written or compared.

    Args:
        path: Path of the snapshot.
        reason: Cause and remedy, as the end of a sentence about the snapshot.
    """

    def __init__(self, path: str, reason: str) -> None:
        """Build the message."""
        super().__init__(f"snapshot '{path}' {reason}")


class SnapshotMissingError(SnapshotError, AssertionError):
    """No snapshot of this name exists to compare an output with.

    Args:
        name: Name of the snapshot.
        path: Path that the snapshot would have.
        output: Normalised output.
    """

    def __init__(self, name: str, path: str, output: str) -> None:
        """Build the message."""
        super().__init__(
            path,
            f"is not there yet, so nothing says what the output '{name}' should be. If it is right "
            f"as it is below, {_UPDATE}. The output:\n{output}",
        )


class SnapshotMismatchError(SnapshotError, AssertionError):
    """An output differs from its snapshot.

    Args:
        name: Name of the snapshot.
        path: Path of the snapshot.
        difference: Unified diff.
    """

    def __init__(self, name: str, path: str, difference: str) -> None:
        """Build the message."""
        super().__init__(
            path,
            f"differs from the output '{name}'. If the output is right, {_UPDATE}; if it differs "
            f"at each run, a rule of normalisation is missing. The difference:\n{difference}",
        )


class ArtifactIndexError(ContainerError):
    """The index over all runs cannot be read or written.

    Args:
        path: Path of the index.
        reason: Cause and remedy.
        is_unwritable: Whether the index cannot be opened or written; the runs' files may be fine.
    """

    def __init__(self, path: str, reason: str, is_unwritable: bool = False) -> None:
        """Build the message."""
        self.is_unwritable = is_unwritable
        super().__init__(f"index '{path}': {reason}")
