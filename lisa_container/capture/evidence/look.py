"""What is at many paths of a container at once."""

from __future__ import annotations

import hashlib
import re
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from lisa_container.capture.evidence.archive import archive_of, pieces_of
from lisa_container.capture.evidence.inside import ask
from lisa_container.capture.records import FileRecord
from lisa_container.engine.client import Engine
from lisa_container.engine.paths import may_look, stat_path

# The raw mode in hexadecimal, the size, the time of the last change of anything, the name.
_STAT = "xargs -0 stat -c '%f %s %Z %n' --"
_STAT_LINE = re.compile(r"([0-9a-f]+) (\d+) (\d+) (.*)")
_DIGEST = "xargs -0 sha256sum --"
_DIGEST_LINE = re.compile(r"([0-9a-f]{64})  (.*)")

_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}


@dataclass
class Look:
    """What was seen.

    Args:
        files: path to what is there; nothing is there where a path is missing.
        changed: path to the time of its last change, in seconds since 1970 by the node's clock;
            empty where nobody can tell.
        notes: what could not be told.
    """

    files: dict[str, FileRecord] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def look_at(
    engine: Engine, container: str, paths: Iterable[str], limit: int, deadline: float
) -> Look:
    """Kind, size and mode of each path, and the digest of files.

    The container's own `stat` and `sha256sum` tell most; without them, or when it does not run, the
    engine is asked for one after the other.

    Args:
        engine: of the node.
        container: name or id.
        paths: absolute.
        limit: so many bytes of files are read for their digests, the smallest ones first.
        deadline: `time.monotonic()` after which no more is looked at.
    """
    names = [path for path in paths if "\n" not in path]
    found = Look()
    with engine.errors(container):
        inspected = engine.api.inspect_container(container)
    if inspected["State"]["Running"] and _ask_stat(engine, container, names, found):
        _digest(found, limit, lambda files: _ask_digests(engine, container, files, deadline))
        return found
    if not may_look(engine, inspected):
        found.notes.append("sizes and digests: the container has no 'stat' and 'xargs' to tell")
        return found
    for path in names:
        if time.monotonic() > deadline:
            found.notes.append("sizes and digests: of some only, there was no more time")
            break
        there = stat_path(engine, container, path)
        if there is not None:
            found.files[path] = _record(path, there.mode, there.size)
    _digest(found, limit, lambda files: _read_digests(engine, container, files, deadline))
    return found


def _ask_stat(engine: Engine, container: str, names: list[str], found: Look) -> bool:
    if not names:
        return True
    said = ask(engine, container, ["sh", "-c", _STAT], _listed(names))
    lines = said.decode("utf-8", errors="surrogateescape").splitlines() if said else []
    for match in filter(None, map(_STAT_LINE.fullmatch, lines)):
        path = match[4]
        found.files[path] = _record(path, int(match[1], 16), int(match[2]))
        found.changed[path] = int(match[3])
    return bool(found.files)


def _digest(found: Look, limit: int, digests: Callable[[list[str]], dict[str, str]]) -> None:
    files = [record for record in found.files.values() if record["kind"] == "file"]
    chosen, left = [], limit
    for record in sorted(files, key=lambda record: record["size"] or 0):
        left -= record["size"] or 0
        if left < 0:
            found.notes.append(
                f"digests: of the smaller files only, {limit} bytes in total are read"
            )
            break
        chosen.append(record["path"])
    for path, digest in (digests(chosen) if chosen else {}).items():
        if path in found.files:
            found.files[path]["digest"] = f"sha256:{digest}"


def _ask_digests(
    engine: Engine, container: str, files: list[str], deadline: float
) -> dict[str, str]:
    left = max(1.0, deadline - time.monotonic())
    said = ask(engine, container, ["sh", "-c", _DIGEST], _listed(files), left)
    lines = said.decode("utf-8", errors="surrogateescape").splitlines() if said else []
    matches = filter(None, map(_DIGEST_LINE.fullmatch, lines))
    return {match[2]: match[1] for match in matches}


def _read_digests(
    engine: Engine, container: str, files: list[str], deadline: float
) -> dict[str, str]:
    result = {}
    for path in files:
        if time.monotonic() > deadline:
            break
        with archive_of(engine, container, path) as archive:
            member = archive.next()
            file = archive.extractfile(member) if member is not None else None
            if file is not None:
                digest = hashlib.sha256()
                for piece in pieces_of(file):
                    digest.update(piece)
                result[path] = digest.hexdigest()
    return result


def _record(path: str, mode: int, size: int) -> FileRecord:
    kind = _KINDS.get(stat.S_IFMT(mode), "other")
    return {
        "path": path,
        "kind": kind,
        "size": size if kind == "file" else None,
        "mode": f"{stat.S_IMODE(mode):04o}",
        "digest": None,
    }


def unknown(path: str) -> FileRecord:
    """A path of which nothing is known but that it is there."""
    return {"path": path, "kind": None, "size": None, "mode": None, "digest": None}


def _listed(paths: list[str]) -> bytes:
    return "".join(f"{path}\0" for path in paths).encode("utf-8", errors="surrogateescape")
