"""`assert_output_matches`."""

from __future__ import annotations

from pathlib import Path, PurePath

from lisa import secret
from lisa.util.logger import get_logger

from lisa_container.capture.normalise import RuleSet, normalise
from lisa_container.capture.snapshot.difference import cut, difference
from lisa_container.capture.snapshot.place import is_updating, present_place
from lisa_container.capture.snapshot.store import read_snapshot, snapshot_path, write_snapshot
from lisa_container.errors import ConfigError, SnapshotMismatchError, SnapshotMissingError


def assert_output_matches(
    output: str | bytes,
    name: str,
    folder: str | PurePath | None = None,
    rules: RuleSet | None = None,
) -> None:
    """Compare an output, normalised, with the snapshot of this name.

    With LISA_CONTAINER_UPDATE_SNAPSHOTS=1 in the environment, or the runbook's variable
    `update_snapshots` true, the snapshot is made or changed instead, and the log tells.

    Args:
        output: of a command.
        name: of the snapshot: `<folder>/<name>.txt`.
        folder: of the snapshots; in a case of a `ContainerTestSuite`, or one with
            `@container_test`, by default `snapshots/<suite>` beside the suite's file.
        rules: of normalisation; by default the suite's `output_rules`, else `default_rules()`.

    Raises:
        SnapshotMismatchError: it differs (an `AssertionError`).
        SnapshotMissingError: there is no such snapshot yet (an `AssertionError`).
        SnapshotError: the snapshot cannot be read or written.
        ConfigError: the name or the rules are wrong, or there is no suite to tell the folder.
    """
    place = present_place()
    if folder is not None:
        path = snapshot_path(Path(folder), name)
    elif place is not None:
        path = snapshot_path(place.folder, name)
    else:
        raise ConfigError(
            f"snapshot '{name}': no case runs in this thread that could tell its folder. Give "
            "assert_output_matches a folder="
        )
    if rules is None and place is not None:
        rules = place.rules
    actual = _content(output, rules)
    expected = read_snapshot(path)
    if expected is not None:
        # LISA masks the names of nodes' users, and another node had another user.
        expected = secret.mask(expected)
        if "\r\n" not in actual:
            # A checkout may have changed the ends of lines.
            expected = expected.replace("\r\n", "\n")
    if expected == actual:
        return
    what = cut(actual) if expected is None else difference(expected, actual)
    if is_updating():
        write_snapshot(path, actual)
        made = "made" if expected is None else "updated"
        get_logger("snapshot").warning(f"snapshot '{name}' was {made}: {path}\n{what}")
    elif expected is None:
        raise SnapshotMissingError(name, str(path), what)
    else:
        raise SnapshotMismatchError(name, str(path), what)


def _content(output: str | bytes, rules: RuleSet | None) -> str:
    """What a snapshot of the output holds: no secret, and one line feed at the end."""
    text = output.decode("utf-8", errors="replace") if isinstance(output, bytes) else output
    text = normalise(secret.mask(text), rules).rstrip("\n")
    return f"{text}\n" if text else ""
