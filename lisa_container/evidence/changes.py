"""Changes that a case made in a container's file system."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from lisa_container.container.state import time_of
from lisa_container.engine.client import Engine
from lisa_container.errors import EngineError
from lisa_container.evidence.noise import NoiseRule, filter_noise
from lisa_container.evidence.scan import make_unknown, scan_files
from lisa_container.recording.records import FORMAT, ChangesRecord

# Maximum number of paths that are scanned, and of bytes (256 MiB) that are read for digests.
MOST_PATHS = 1000
MOST_BYTES = 256 << 20
# Maximum size in bytes of the engine's list of changes: more than 100,000 paths of usual length.
MOST_LISTED = 16 << 20
_CHUNK = 256 * 1024

# Kinds of changes in the Docker Engine API (ContainerChanges).
_CHANGED, _ADDED, _DELETED = 0, 1, 2


@dataclass
class _Clock:
    """Clock of an engine's node."""

    offset: float | None = None
    """Seconds by which it is ahead of this machine's; None until the node was asked."""


@dataclass(frozen=True)
class Begin:
    """State of a container's file system when a case began.

    Args:
        kinds: path to the kind of its change since the container's start.
        second: time of the node's clock in whole seconds since 1970.
    """

    kinds: dict[str, int] = field(default_factory=dict)
    second: int = 0


def begin_of(engine: Engine, container: str) -> Begin:
    """Return the state of a container's file system now; a container just started needs none.

    Args:
        engine: engine of the node.
        container: name or id.

    Raises:
        EngineError: the engine refuses.
    """
    clock = engine.state(_Clock)
    if clock.offset is None:
        with engine.errors(container):
            clock.offset = time_of(engine) - time.time()
    return Begin(_kinds(engine, container), int(time.time() + clock.offset))


def find_changes(
    engine: Engine,
    container: str,
    begin: Begin,
    rules: Iterable[NoiseRule],
    deadline: float,
) -> ChangesRecord:
    """Return the changes since the case began.

    The engine compares the container's layer with its image. It does not see mounts (volumes,
    tmpfs).

    Args:
        engine: engine of the node.
        container: name or id; the container need not run.
        begin: state when the case began.
        rules: noise rules for paths to leave out.
        deadline: `time.monotonic()` after which nothing more is scanned.

    Raises:
        EngineError: the engine refuses.
    """
    kinds = _kinds(engine, container)
    paths, filtered = filter_noise(sorted(kinds), rules)
    paths = _without_holders(paths, kinds)
    there = [path for path in paths if kinds[path] != _DELETED]
    scan = scan_files(engine, container, there[:MOST_PATHS], MOST_BYTES, deadline)
    notes = list(scan.notes)
    record: ChangesRecord = {
        "format": FORMAT,
        "added": [],
        "changed": [],
        "deleted": [],
        "filtered": filtered,
        "left_out": max(0, len(there) - MOST_PATHS),
        "notes": notes,
    }
    unknown_paths = 0
    for path in there[:MOST_PATHS]:
        kind, old, file = kinds[path], begin.kinds.get(path), scan.files.get(path)
        if file is None and scan.files:
            continue  # gone by now
        file = file or make_unknown(path)
        if old == kind:
            if file["kind"] == "folder":
                continue
            if path not in scan.changed:
                unknown_paths += 1
            elif scan.changed[path] >= begin.second:
                record["changed"].append(file)
        else:
            is_new = kind == _ADDED and old is None
            (record["added"] if is_new else record["changed"]).append(file)
    for path, kind in begin.kinds.items():
        if kind == _ADDED and path not in kinds:
            record["deleted"].append(path)
    record["deleted"] += [
        path for path in paths if kinds[path] == _DELETED and begin.kinds.get(path) != _DELETED
    ]
    if unknown_paths:
        notes.append(
            f"{unknown_paths} paths were changed before the case; whether the case changed them, "
            "too, is unknown: the container does not run, or has no 'stat'"
        )
    if record["left_out"]:
        notes.append(f"{record['left_out']} paths above {MOST_PATHS} were not scanned")
    return record


def _without_holders(paths: list[str], kinds: dict[str, int]) -> list[str]:
    """Return the paths without folders that only hold changed paths, or only noise."""
    holders, wanted = _parents(kinds), _parents(paths)
    return [
        path for path in paths if path not in holders or (kinds[path] == _ADDED and path in wanted)
    ]


def _parents(paths: Iterable[str]) -> set[str]:
    return {str(parent) for path in paths for parent in PurePosixPath(path).parents}


def _kinds(engine: Engine, container: str) -> dict[str, int]:
    api, data = engine.api, bytearray()
    with engine.errors(container):
        # The SDK's `diff` reads without a limit, and a container can make the list endless.
        answer = api._get(api._url("/containers/{0}/changes", container), stream=True)
        with contextlib.closing(answer):
            api._raise_for_status(answer)
            for chunk in answer.iter_content(_CHUNK):
                data += chunk
                if len(data) > MOST_LISTED:
                    raise EngineError(
                        f"container '{container}' has changed so many files that their list has "
                        f"more than {MOST_LISTED} bytes, which is not read"
                    )
    return parse_changes(data)


def parse_changes(data: bytes | bytearray) -> dict[str, int]:
    """Return path and kind of each change in the engine's list, which may be hostile.

    Each change is reduced as it is read: as objects, all of them need ten times the list's memory.

    Args:
        data: the list as JSON; empty or `null` without changes.
    """
    kinds: dict[str, int] = {}

    def add(change: dict[str, Any]) -> None:
        kinds[str(change["Path"])] = int(change["Kind"])

    json.loads(data or b"null", object_hook=add)
    return kinds
