"""Questions about runs, answered from the index."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from lisa_container.artifacts.index import Index
from lisa_container.errors import ConfigError

LAST = "last"
"""A name for the newest run; `last-1` is the one before it."""

T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """A run of LISA."""

    id: int
    run: str
    name: str
    started: str
    ended: str | None
    state: str
    duration: float | None
    """Seconds; None while it runs, and where it was cut short."""
    message: str
    runner: str
    folder: str
    """Below LISA's log folder."""
    passed: int
    failed: int
    other: int
    """Cases that were skipped, attempted, or never came to an end."""
    containers: int
    commands: int


@dataclass(frozen=True)
class Case:
    """What became of a case, or of a sub-test of it, in a run."""

    run: str
    suite: str
    name: str
    parent: str
    status: str
    message: str
    started: str | None
    duration: float | None
    commands: int
    image: str
    """Of its containers; several with commas between."""
    folder: str
    """Below LISA's log folder."""


@dataclass(frozen=True)
class Container:
    """A container of a run."""

    name: str
    node: str
    engine: str
    image: str
    image_id: str
    suite: str
    started: str | None
    ended: str | None
    exit_code: int | None
    oom_killed: int | None
    commands: int


@dataclass(frozen=True)
class InstalledIn:
    """A tool that a run installed."""

    name: str
    version: str
    manager: str
    container: str
    origin: str


@dataclass(frozen=True)
class Artifact:
    """A file that a run kept; its path is below LISA's log folder."""

    path: str
    kind: str
    size: int


_RUNS = """
SELECT r.*, round((julianday(r.ended) - julianday(r.started)) * 86400, 3) AS duration,
    (SELECT count(*) FROM cases c WHERE c.run = r.id AND c.parent = '' AND c.status = 'passed')
        AS passed,
    (SELECT count(*) FROM cases c WHERE c.run = r.id AND c.parent = '' AND c.status = 'failed')
        AS failed,
    (SELECT count(*) FROM cases c WHERE c.run = r.id AND c.parent = ''
        AND c.status NOT IN ('passed', 'failed')) AS other,
    (SELECT count(*) FROM containers c WHERE c.run = r.id) AS containers,
    (SELECT count(*) FROM commands c WHERE c.run = r.id) AS commands
FROM runs r
"""
_NEWEST = "ORDER BY r.started DESC, r.id DESC"
_CASES = """
SELECT r.run, c.suite, c.name, c.parent, c.status, c.message, c.started, c.duration,
    (SELECT count(*) FROM commands k WHERE k."case" = c.id) AS commands,
    coalesce((SELECT group_concat(DISTINCT i.reference) FROM commands k
        JOIN containers o ON o.run = k.run AND o.name = k.container JOIN images i ON i.id = o.image
        WHERE k."case" = c.id), '') AS image,
    r.folder || CASE WHEN c.folder = '' THEN '' ELSE '/' || c.folder END AS folder
FROM cases c JOIN runs r ON r.id = c.run
"""
_CONTAINERS = """
SELECT o.name, o.node, o.engine, o.suite, o.started, o.ended, o.exit_code, o.oom_killed,
    coalesce(i.reference, '') AS image, coalesce(i.image_id, '') AS image_id,
    (SELECT count(*) FROM commands k WHERE k.run = o.run AND k.container = o.name) AS commands
FROM containers o LEFT JOIN images i ON i.id = o.image WHERE o.run = ? ORDER BY o.started, o.id
"""


class History:
    """Questions about the runs of a log folder.

    Args:
        index: of the log folder.
    """

    def __init__(self, index: Index) -> None:
        self._index = index

    @property
    def log(self) -> Path:
        """The log folder."""
        return self._index.log

    def runs(self, limit: int) -> list[Run]:
        """The last runs, the newest first.

        Args:
            limit: how many at the most.
        """
        return _all(Run, self._index.read(f"{_RUNS} {_NEWEST} LIMIT ?", limit))

    def run(self, word: str) -> Run:
        """One run.

        Args:
            word: its id, the beginning of it, `last`, or `last-<n>`.

        Raises:
            ConfigError: there is none of this name, or several.
        """
        name, _, back = word.partition("-")
        if name == LAST and (back.isdigit() or word == LAST):
            found = _all(
                Run, self._index.read(f"{_RUNS} {_NEWEST} LIMIT 1 OFFSET ?", int(back or 0))
            )
        else:
            begins = "WHERE r.run = ?1 OR substr(r.run, 1, length(?1)) = ?1"
            found = _all(Run, self._index.read(f"{_RUNS} {begins} {_NEWEST}", word))
            found = [each for each in found if each.run == word] or found
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(each.run for each in found[:5])
            raise ConfigError(f"run '{word}': several begin so ({names}…). Give more of the name")
        raise ConfigError(
            f"run '{word}': there is none in '{self.log}'. 'lisa-container history' lists those "
            "that are there; --log names another log folder"
        )

    def cases(self, run: Run) -> list[Case]:
        """All cases of a run, each followed by its sub-tests.

        Args:
            run: which.
        """
        rows = self._index.read(f"{_CASES} WHERE c.run = ? ORDER BY c.id", run.id)
        found = _all(Case, rows)
        parts: dict[str, list[Case]] = {}
        for each in found:
            if each.parent:
                parts.setdefault(each.parent, []).append(each)
        owners = [each for each in found if not each.parent]
        return [x for each in owners for x in (each, *parts.pop(each.name, []))]

    def case(self, name: str, limit: int) -> list[Case]:
        """What became of a case in the last runs, the newest first.

        Args:
            name: of the case, or of a sub-test.
            limit: how many at the most.

        Raises:
            ConfigError: no run had a case of this name.
        """
        query = f"{_CASES} WHERE c.name = ? {_NEWEST} LIMIT ?"
        found = _all(Case, self._index.read(query, name, limit))
        if not found:
            like = self._index.read(
                "SELECT DISTINCT name FROM cases WHERE name LIKE ? LIMIT 5", f"%{name}%"
            )
            hint = f" Those like it: {', '.join(row['name'] for row in like)}." if like else ""
            raise ConfigError(f"case '{name}': no run in '{self.log}' had one of this name.{hint}")
        return found

    def containers(self, run: Run) -> list[Container]:
        """The containers of a run.

        Args:
            run: which.
        """
        return _all(Container, self._index.read(_CONTAINERS, run.id))

    def tools(self, run: Run) -> list[InstalledIn]:
        """What a run installed.

        Args:
            run: which.
        """
        query = "SELECT * FROM tools WHERE run = ? ORDER BY name, container"
        return _all(InstalledIn, self._index.read(query, run.id))

    def artifacts(self, run: Run) -> list[Artifact]:
        """The files that a run kept.

        Args:
            run: which.
        """
        query = (
            "SELECT r.folder || '/' || a.path AS path, a.kind, a.size FROM artifacts a "
            "JOIN runs r ON r.id = a.run WHERE a.run = ? ORDER BY a.path"
        )
        return _all(Artifact, self._index.read(query, run.id))

    def results(self, run: Run) -> list[tuple[str, str, str]]:
        """Of each command in a run's cases: the case, the command, and its exit code or what else
        became of it.

        Args:
            run: which.
        """
        rows = self._index.read(
            'SELECT c.name AS "case", k.command, k.exit_code, k.error FROM commands k '
            'JOIN cases c ON c.id = k."case" WHERE k.run = ? ORDER BY k.file, k.n',
            run.id,
        )
        return [(x["case"], x["command"], x["error"] or str(x["exit_code"])) for x in rows]


def _all(kind: type[T], rows: list[sqlite3.Row]) -> list[T]:
    names = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    return [kind(**{name: row[name] for name in names}) for row in rows]
