"""What a case changed in a container's file system."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from lisa_container.capture.evidence.look import look_at, unknown
from lisa_container.capture.evidence.noise import NoiseRule, sift
from lisa_container.capture.records import FORMAT, ChangesRecord
from lisa_container.engine.client import Engine
from lisa_container.engine.state import time_of

# So many paths are looked at, and so many bytes (256 MiB) read for digests.
MOST_PATHS = 1000
MOST_BYTES = 256 << 20

# What the engine calls the kinds of changes (Docker Engine API, ContainerChanges).
_CHANGED, _ADDED, _DELETED = 0, 1, 2

# The node's clock against ours (seconds), asked for once.
_offsets: weakref.WeakKeyDictionary[Engine, float] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Begin:
    """How a container's file system was at the begin of a case.

    Args:
        kinds: path to the kind of change since the container's start.
        second: the time by the node's clock, in whole seconds since 1970.
    """

    kinds: dict[str, int] = field(default_factory=dict)
    second: int = 0


def begin_of(engine: Engine, container: str) -> Begin:
    """How a container is now, at the begin of a case; one just started needs no such look.

    Args:
        engine: of the node.
        container: name or id.

    Raises:
        EngineError: the engine refused.
    """
    if engine not in _offsets:
        with engine.errors(container):
            _offsets[engine] = time_of(engine) - time.time()
    return Begin(_kinds(engine, container), int(time.time() + _offsets[engine]))


def find_changes(
    engine: Engine,
    container: str,
    begin: Begin,
    rules: Iterable[NoiseRule],
    deadline: float,
) -> ChangesRecord:
    """What differs from the begin.

    The engine compares the container's own layer with its image: what is on a mount (a volume, a
    tmpfs) it does not see.

    Args:
        engine: of the node.
        container: name or id; it need not run.
        begin: of the case.
        rules: for what is left out.
        deadline: `time.monotonic()` after which no more is looked at.

    Raises:
        EngineError: the engine refused.
    """
    kinds = _kinds(engine, container)
    paths, filtered = sift(sorted(kinds), rules)
    paths = _without_holders(paths, kinds)
    there = [path for path in paths if kinds[path] != _DELETED]
    look = look_at(engine, container, there[:MOST_PATHS], MOST_BYTES, deadline)
    notes = list(look.notes)
    record: ChangesRecord = {
        "format": FORMAT,
        "added": [],
        "changed": [],
        "deleted": [],
        "filtered": filtered,
        "left_out": max(0, len(there) - MOST_PATHS),
        "notes": notes,
    }
    untold = 0
    for path in there[:MOST_PATHS]:
        kind, old, file = kinds[path], begin.kinds.get(path), look.files.get(path)
        if file is None and look.files:
            continue  # gone by now
        file = file or unknown(path)
        if old == kind:
            if file["kind"] == "folder":
                continue
            if path not in look.changed:
                untold += 1
            elif look.changed[path] >= begin.second:
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
    if untold:
        notes.append(
            f"{untold} paths had been changed before the case; whether they were in it too, nobody "
            "can tell: the container does not run, or has no 'stat'"
        )
    if record["left_out"]:
        notes.append(f"{record['left_out']} paths above {MOST_PATHS} were not looked at")
    return record


def _without_holders(paths: list[str], kinds: dict[str, int]) -> list[str]:
    """The paths without folders that only hold what changed, or only noise."""
    holders, wanted = _parents(kinds), _parents(paths)
    return [
        path for path in paths if path not in holders or (kinds[path] == _ADDED and path in wanted)
    ]


def _parents(paths: Iterable[str]) -> set[str]:
    return {str(parent) for path in paths for parent in PurePosixPath(path).parents}


def _kinds(engine: Engine, container: str) -> dict[str, int]:
    with engine.errors(container):
        found = engine.api.diff(container) or []
    return {str(change["Path"]): int(change["Kind"]) for change in found}
