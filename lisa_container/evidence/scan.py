"""Scan of many paths of a container at once."""

from __future__ import annotations

import contextlib
import hashlib
import re
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from lisa_container.archives.tar import FILE, Fault
from lisa_container.container.paths import can_request_archives, stat_path
from lisa_container.engine.client import Engine
from lisa_container.evidence.archive import archive_of
from lisa_container.evidence.inside import ask
from lisa_container.recording.records import FileRecord

# Raw mode in hexadecimal, size, time of the last change of content or metadata, name.
_STAT = "xargs -0 stat -c '%f %s %Z %n' --"
_STAT_LINE = re.compile(r"([0-9a-f]{1,8}) ([0-9]{1,20}) ([0-9]{1,20}) (.*)")
_DIGEST = "xargs -0 sha256sum --"
_DIGEST_LINE = re.compile(r"([0-9a-f]{64})  (.*)")

# Maximum size in bytes of the headers in an archive of one file.
_HEADERS = 1024 * 1024

_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}


@dataclass
class FileScan:
    """Result of a scan.

    Args:
        files: path to the record of the file there; a path without a file is missing.
        changed: path to the time of its last change, in seconds since 1970 by the node's clock;
            empty if unknown.
        notes: what is unknown, and why.
    """

    files: dict[str, FileRecord] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def scan_files(
    engine: Engine, container: str, paths: Iterable[str], limit: int, deadline: float
) -> FileScan:
    """Return kind, size and mode of each path, and the digests of files.

    The container's own `stat` and `sha256sum` do the work. If it does not run or lacks them, the
    engine is asked for one path after the other.

    Args:
        engine: engine of the node.
        container: name or id.
        paths: absolute paths.
        limit: maximum number of bytes that are read for digests, smallest files first.
        deadline: `time.monotonic()` after which nothing more is scanned.
    """
    names = [path for path in paths if "\n" not in path]
    found = FileScan()
    with engine.errors(container):
        inspected = engine.api.inspect_container(container)
    if inspected["State"]["Running"] and _ask_stat(engine, container, names, found):
        _digest(found, limit, lambda files: _ask_digests(engine, container, files, deadline))
        return found
    if not can_request_archives(engine, inspected):
        found.notes.append("sizes and digests: the container has no 'stat' and 'xargs'")
        return found
    for path in names:
        if time.monotonic() > deadline:
            found.notes.append("sizes and digests: of some paths only, the time was up")
            break
        there = stat_path(engine, container, path)
        if there is not None:
            found.files[path] = _record(path, there.mode, there.size)
    _digest(found, limit, lambda files: _read_digests(engine, container, files, limit, deadline))
    return found


def _ask_stat(engine: Engine, container: str, names: list[str], found: FileScan) -> bool:
    if not names:
        return True
    output = ask(engine, container, ["sh", "-c", _STAT], _join_names(names))
    lines = output.decode("utf-8", errors="surrogateescape").splitlines() if output else []
    for match in filter(None, map(_STAT_LINE.fullmatch, lines)):
        path = match[4]
        found.files[path] = _record(path, int(match[1], 16), int(match[2]))
        found.changed[path] = int(match[3])
    return bool(found.files)


def _digest(found: FileScan, limit: int, digests: Callable[[list[str]], dict[str, str]]) -> None:
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
    output = ask(engine, container, ["sh", "-c", _DIGEST], _join_names(files), left)
    lines = output.decode("utf-8", errors="surrogateescape").splitlines() if output else []
    matches = filter(None, map(_DIGEST_LINE.fullmatch, lines))
    return {match[2]: match[1] for match in matches}


def _read_digests(
    engine: Engine, container: str, files: list[str], limit: int, deadline: float
) -> dict[str, str]:
    result = {}
    for path in files:
        if time.monotonic() > deadline:
            break
        # The container may still run and change the size.
        most = limit + _HEADERS
        with (
            contextlib.suppress(Fault),
            archive_of(engine, container, path, deadline, most) as archive,
        ):
            entry = next(iter(archive), None)
            if entry is not None and entry.kind == FILE:
                digest = hashlib.sha256()
                for piece in archive.content():
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


def make_unknown(path: str) -> FileRecord:
    """Return the record of a path of which only the name is known.

    Args:
        path: the path.
    """
    return {"path": path, "kind": None, "size": None, "mode": None, "digest": None}


def _join_names(paths: list[str]) -> bytes:
    return "".join(f"{path}\0" for path in paths).encode("utf-8", errors="surrogateescape")
