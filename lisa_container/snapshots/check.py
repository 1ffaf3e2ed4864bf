"""Comparison of an output with its snapshot: `assert_output_matches`."""

from __future__ import annotations

from pathlib import Path, PurePath

from lisa.util.logger import get_logger

from lisa_container.errors import ConfigError, SnapshotMismatchError, SnapshotMissingError
from lisa_container.masking import mask_known
from lisa_container.snapshots.difference import diff_texts, truncate
from lisa_container.snapshots.normalise import RuleSet, normalise
from lisa_container.snapshots.place import current_place, is_updating
from lisa_container.snapshots.store import read_snapshot, snapshot_path, write_snapshot


def assert_output_matches(
    output: str | bytes,
    name: str,
    folder: str | PurePath | None = None,
    rules: RuleSet | None = None,
) -> None:
    """Normalise an output and compare it with a snapshot.

    If the environment has LISA_CONTAINER_UPDATE_SNAPSHOTS=1, or the runbook's variable
    `update_snapshots` is true, the snapshot is created or updated instead, with a warning in the
    log.

    Args:
        output: output of a command.
        name: name of the snapshot; its file is `<folder>/<name>.txt`.
        folder: folder of the snapshots. None means `snapshots/<suite>` beside the suite's file,
            which works in a case of a `ContainerTestSuite` or with `@container_test`; in a test for
            pytest, `snapshots/<file>` beside the test's file.
        rules: rules of normalisation. None means the suite's `output_rules`, or `default_rules()`.

    Raises:
        SnapshotMismatchError: the output differs (an `AssertionError`).
        SnapshotMissingError: the snapshot does not exist yet (an `AssertionError`).
        SnapshotError: the snapshot cannot be read or written.
        ConfigError: the name or the rules are illegal, or no suite determines the folder.
    """
    place = current_place()
    if folder is not None:
        path = snapshot_path(Path(folder), name)
    elif place is not None:
        path = snapshot_path(place.folder, name)
    else:
        raise ConfigError(
            f"snapshot '{name}': its folder is unknown, because no case runs in this thread. Give "
            "assert_output_matches a folder="
        )
    if rules is None and place is not None:
        rules = place.rules
    actual = _normalise_output(output, rules)
    expected = read_snapshot(path)
    if expected is not None:
        expected = mask_known(expected)  # a secret of this run may be a word of the snapshot
        if "\r\n" not in actual:
            # A checkout may have converted line ends.
            expected = expected.replace("\r\n", "\n")
    if expected == actual:
        return
    what = truncate(actual) if expected is None else diff_texts(expected, actual)
    if is_updating():
        write_snapshot(path, actual)
        made = "made" if expected is None else "updated"
        get_logger("snapshot").warning(f"snapshot '{name}' was {made}: {path}\n{what}")
    elif expected is None:
        raise SnapshotMissingError(name, str(path), what)
    else:
        raise SnapshotMismatchError(name, str(path), what)


def _normalise_output(output: str | bytes, rules: RuleSet | None) -> str:
    """Return the content of a snapshot: without secrets, and with one line feed at the end."""
    text = output.decode("utf-8", errors="replace") if isinstance(output, bytes) else output
    text = normalise(mask_known(text), rules).rstrip("\n")
    return f"{text}\n" if text else ""
