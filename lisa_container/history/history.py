"""Queries about runs, answered from the index."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from lisa_container.errors import ConfigError
from lisa_container.history.index import Index

LAST = "last"
"""Name of the newest run; `last-1` is the one before."""

MOST = 10**9 - 1
"""Largest number of runs or cases that may be asked for."""

_LAST = re.compile(rf"{LAST}(?:-([0-9]{{1,{len(str(MOST))}}}))?")

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
    """Seconds; None for a run that goes on or was cut short."""
    message: str
    runner: str
    folder: str
    """Path below LISA's log folder."""
    passed: int
    failed: int
    other: int
    """Number of cases that were skipped, attempted, or did not end."""
    containers: int
    commands: int


@dataclass(frozen=True)
class Case:
    """Result of a case or sub-test in a run."""

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
    """Images of its containers, separated by commas."""
    folder: str
    """Path below LISA's log folder."""


@dataclass(frozen=True)
class Container:
    """Container of a run."""

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
    """Tool that a run installed."""

    name: str
    version: str
    manager: str
    container: str
    origin: str


@dataclass(frozen=True)
class Artifact:
    """File that a run kept; `path` is below LISA's log folder."""

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
    """Queries about the runs of a log folder.

    Args:
        index: the index of the log folder.
    """

    def __init__(self, index: Index) -> None:
        """Query an index, which stays open for as long as the history is used."""
        self._index = index

    @property
    def log(self) -> Path:
        """LISA's log folder."""
        return self._index.log

    def runs(self, limit: int) -> list[Run]:
        """Return the last runs, newest first.

        Args:
            limit: maximum number of runs.
        """
        return _all(Run, self._index.read(f"{_RUNS} {_NEWEST} LIMIT ?", limit))

    def run(self, word: str) -> Run:
        """Return one run.

        Args:
            word: the run's id, the beginning of it, `last`, or `last-<n>`.

        Raises:
            ConfigError: no run has this name, or several runs' ids begin with it.
        """
        last = _LAST.fullmatch(word)
        if last is not None:
            query = f"{_RUNS} {_NEWEST} LIMIT 1 OFFSET ?"
            found = _all(Run, self._index.read(query, int(last[1] or 0)))
        else:
            begins = "WHERE r.run = ?1 OR substr(r.run, 1, length(?1)) = ?1"
            found = _all(Run, self._index.read(f"{_RUNS} {begins} {_NEWEST}", word))
            found = [each for each in found if each.run == word] or found
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(each.run for each in found[:5])
            raise ConfigError(f"run '{word}': several ids begin so ({names}…). Give more of it")
        raise ConfigError(
            f"run '{word}': no such run in '{self.log}'. 'lisa-container history' lists the runs; "
            "--log names another log folder"
        )

    def cases(self, run: Run) -> list[Case]:
        """Return all cases of a run, each followed by its sub-tests.

        Args:
            run: the run.
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
        """Return the results of a case in the last runs, newest first.

        Args:
            name: name of the case or sub-test.
            limit: maximum number of results.

        Raises:
            ConfigError: no run had a case of this name.
        """
        query = f"{_CASES} WHERE c.name = ? {_NEWEST} LIMIT ?"
        found = _all(Case, self._index.read(query, name, limit))
        if not found:
            like = self._index.read(
                "SELECT DISTINCT name FROM cases WHERE name LIKE ? LIMIT 5", f"%{name}%"
            )
            hint = f" Similar names: {', '.join(row['name'] for row in like)}." if like else ""
            raise ConfigError(f"case '{name}': no run in '{self.log}' has such a case.{hint}")
        return found

    def containers(self, run: Run) -> list[Container]:
        """Return the containers of a run.

        Args:
            run: the run.
        """
        return _all(Container, self._index.read(_CONTAINERS, run.id))

    def tools(self, run: Run) -> list[InstalledIn]:
        """Return the tools that a run installed.

        Args:
            run: the run.
        """
        query = "SELECT * FROM tools WHERE run = ? ORDER BY name, container"
        return _all(InstalledIn, self._index.read(query, run.id))

    def artifacts(self, run: Run) -> list[Artifact]:
        """Return the files that a run kept.

        Args:
            run: the run.
        """
        query = (
            "SELECT r.folder || '/' || a.path AS path, a.kind, a.size FROM artifacts a "
            "JOIN runs r ON r.id = a.run WHERE a.run = ? ORDER BY a.path"
        )
        return _all(Artifact, self._index.read(query, run.id))

    def results(self, run: Run) -> list[tuple[str, str, str]]:
        """Return case, command, and exit code or error of each command in a run's cases.

        Args:
            run: the run.
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
