"""Ingestion of the files of runs into the index; repeating it replaces the rows.

A file may hold anything, so each one is read and validated separately (`read`, `fields`). A fault
of one file is reported and the others are ingested; a fault of one run does not affect other runs.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from lisa_container.errors import ArtifactIndexError
from lisa_container.escaping import storable
from lisa_container.history.fields import Fields, is_name
from lisa_container.history.index import Index
from lisa_container.history.place import has_run_file, run_folders
from lisa_container.history.read import (
    RecordError,
    open_record,
    read_json,
    read_lines,
    read_list,
)
from lisa_container.history.rows import CaseRow, CommandRow, ContainerRow, RunRow, ToolRow
from lisa_container.recording.records import (
    CASE_FILE,
    CHANGES_FILE,
    COMMANDS_FILE,
    CONTAINER_FILE,
    CONTAINERS_FOLDER,
    FILES_FOLDER,
    INSPECT_FILE,
    LOG_FILE,
    OUTPUT_FOLDER,
    RESULTS_FILE,
    RUN_FILE,
    STATE_FILE,
    TOOLS_FILE,
)

RUNNING, ENDED, INTERRUPTED = "running", "ended", "interrupted"
CUT_SHORT, UNREADABLE = "cut short", "unreadable"
"""States of a run in the index."""

# Folder or file in a container's folder -> kind of artifact in the index.
_KINDS = {
    FILES_FOLDER: "file",
    OUTPUT_FOLDER: "output",
    CHANGES_FILE: "changes",
    INSPECT_FILE: "inspect",
    LOG_FILE: "log",
    STATE_FILE: "state",
}
# Maximum number of files of a container, and of reported problems of a run.
_MOST_FILES = 20_000
_MOST_PROBLEMS = 20
T = TypeVar("T")


def ingest_run(index: Index, folder: Path, cases: Iterable[Path] | None = None) -> list[str]:
    """Ingest a run's files into the index.

    Args:
        index: the index of the log folder.
        folder: the run's folder.
        cases: folders of the cases that have new records; None: ingest everything.

    Returns:
        Descriptions of the faults that were found.

    Raises:
        ArtifactIndexError: the index cannot be written.
    """
    run = _Run(index.log, folder)
    chosen = None if cases is None else list(cases)
    try:
        with index.change() as connection:
            run.ingest(connection, chosen)
    except ArtifactIndexError:
        raise
    except Exception as error:  # a bug, or a folder that changes meanwhile: go on with other runs
        reason = f"{type(error).__name__}: {error}"
        run.complain(reason)
        with index.change() as connection:
            run.mark_unreadable(connection, reason)
    return run.problems


def catch_up(index: Index) -> list[str]:
    """Bring the index up to date with the folders of the runs.

    New records are ingested of unknown runs and of runs that the index has as running; their
    runners may have been killed. A run whose folder or records were removed is deleted.

    Args:
        index: the index of the log folder.

    Returns:
        Descriptions of the faults that were found.

    Raises:
        ArtifactIndexError: the index cannot be written.
    """
    known = {row["folder"]: row["state"] for row in index.read("SELECT folder, state FROM runs")}
    gone = [folder for folder in known if not has_run_file(index.log / folder)]
    if gone:
        with index.change() as connection:
            connection.executemany(
                "DELETE FROM runs WHERE folder = ?", [(storable(x),) for x in gone]
            )
    problems = []
    for folder in run_folders(index.log):
        state = known.get(folder.relative_to(index.log).as_posix())
        if state in (None, RUNNING, UNREADABLE):
            problems += ingest_run(index, folder)
    return problems


def is_alive(folder: Path) -> bool:
    """Return whether the runner of a run still lives.

    The runner holds a lock on its results file; the kernel releases it even after kill -9.

    Args:
        folder: the run's folder.
    """
    try:
        with open_record(folder / CONTAINERS_FOLDER / RESULTS_FILE) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, RecordError):
        pass
    return False


class _Run:
    """Ingestion of one run."""

    _connection: sqlite3.Connection

    def __init__(self, log: Path, folder: Path) -> None:
        self.problems: list[str] = []
        self._log = log
        self._folder = folder
        self._own = folder / CONTAINERS_FOLDER
        self._id = 0

    def complain(self, problem: str) -> None:
        """Note a fault."""
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(f"run '{self._folder.name}': {problem}")

    def ingest(self, connection: sqlite3.Connection, cases: list[Path] | None) -> None:
        """Ingest the files, within a transaction."""
        self._connection = connection
        self._ingest_run()
        self._ingest_results()
        if cases is None:
            cases = [x for x in self._case_folders() if _has_records(x)]
            names = [x.name for x in _folders(self._own)]
        else:
            names = [x for case in cases for x in self._containers_of(case)]
            names += [x.name for case in cases for x in _folders(case / CONTAINERS_FOLDER)]
        for name in dict.fromkeys(names):
            self._ingest_container(self._own / name)
            self._ingest_records(self._own / name, None)
        for case in cases:
            number = self._case_of(case)
            for container in _folders(case / CONTAINERS_FOLDER):
                self._ingest_records(container, number)

    def mark_unreadable(self, connection: sqlite3.Connection, reason: str) -> None:
        """Mark the run as unreadable in the index."""
        self._connection = connection
        self._put_run(RunRow.of(self._fields({}, ""), self._folder.name), UNREADABLE, reason)

    def _case_folders(self) -> Iterator[Path]:
        for above in _folders(self._folder):
            yield from _folders(above)

    def _containers_of(self, case: Path) -> list[str]:
        path = case / CASE_FILE
        return self._fields(self._read(path, read_json) or {}, path).names("containers")

    def _read(self, path: Path, how: Callable[[Path], T]) -> T | None:
        """Read a file; return None if it is missing or cannot be used."""
        try:
            return how(path)
        except FileNotFoundError:
            return None
        except RecordError as error:
            self.complain(f"'{_below(path, self._folder)}' {error.reason}")
            return None

    def _fields(self, record: dict[str, Any], path: Path | str) -> Fields:
        where = _below(path, self._folder) if isinstance(path, Path) else path
        return Fields(record, lambda problem: self.complain(f"'{where}' {problem}"))

    def _ingest_run(self) -> None:
        path = self._own / RUN_FILE
        before = len(self.problems)
        found = self._read(path, read_json)
        fields = self._fields(found or {}, path)
        row = RunRow.of(fields, self._folder.name)
        if found is None and len(self.problems) > before:
            self._put_run(row, UNREADABLE, self.problems[-1])
            return
        if row.ended:
            state = INTERRUPTED if fields.whole("interrupted") else ENDED
        else:
            state = RUNNING if is_alive(self._folder) else CUT_SHORT
        self._put_run(row, state, row.message)

    def _put_run(self, row: RunRow, state: str, message: str) -> None:
        values = {**asdict(row), "state": state, "message": message}
        below = _below(self._folder, self._log)
        self._id = self._put_numbered("runs", ("folder",), folder=below, **values)

    def _ingest_results(self) -> None:
        for fields in self._new_lines(self._own / RESULTS_FILE):
            self._put_case(CaseRow.of(fields), fields.text("folder"))

    def _case_of(self, folder: Path) -> int | None:
        """Return the row of the case in a folder.

        If the runner was killed before it recorded the case, make the row from `case.json`.
        """
        below = _below(folder, self._folder)
        found = self._find_case(below)
        path = folder / CASE_FILE
        case = {} if found is not None else self._read(path, read_json)
        if case:
            # Only LISA's result tells how the case ended.
            fields = self._fields({**case, "status": "", "message": ""}, path)
            self._put_case(CaseRow.of(fields), below)
            found = self._find_case(below)
        return found

    def _find_case(self, below: str) -> int | None:
        query = "SELECT id FROM cases WHERE run = ? AND folder = ? AND parent = ''"
        row = self._connection.execute(query, (self._id, storable(below))).fetchone()
        return None if row is None else int(row["id"])

    def _put_case(self, case: CaseRow, below: str) -> None:
        key = ("run", "result", "parent", "name")
        self._put("cases", key, run=self._id, folder=below, **asdict(case))

    def _ingest_container(self, folder: Path) -> None:
        path = folder / CONTAINER_FILE
        found = self._read(path, read_json)
        if not found:
            return
        fields = self._fields(found, path)
        image = self._put_numbered(
            "images",
            ("reference", "image_id"),
            reference=fields.text("image"),
            image_id=fields.text("image_id"),
        )
        name = fields.text("name") or folder.name
        row = ContainerRow.of(fields)
        self._put(
            "containers", ("run", "name"), run=self._id, name=name, image=image, **asdict(row)
        )
        path = folder / TOOLS_FILE
        for tool in self._read(path, read_list) or []:
            values = asdict(ToolRow.of(self._fields(tool, path)))
            key = ("run", "container", "manager", "name")
            self._put("tools", key, run=self._id, container=name, **values)

    def _ingest_records(self, folder: Path, case: int | None) -> None:
        """Ingest commands and artifacts of a container's folder."""
        path = folder / COMMANDS_FILE
        below, name = _below(path, self._folder), folder.name
        for fields in self._new_lines(path):
            values = asdict(CommandRow.of(fields))
            key = ("run", "file", "n")
            self._put(
                "commands", key, run=self._id, file=below, container=name, case=case, **values
            )
        for number, artifact in enumerate(_artifacts(folder)):
            if number == _MOST_FILES:
                self.complain(f"'{_below(folder, self._folder)}' has more than {number} files")
                break
            kind, file, size = artifact
            self._put(
                "artifacts",
                ("run", "path"),
                run=self._id,
                path=_below(file, self._folder),
                container=name,
                case=case,
                kind=kind,
                size=size,
            )

    def _new_lines(self, path: Path) -> Iterator[Fields]:
        below = _below(path, self._folder)
        query = "SELECT offset FROM sources WHERE run = ? AND path = ?"
        row = self._connection.execute(query, (self._id, storable(below))).fetchone()
        begin = end = int(row["offset"]) if row is not None else 0
        bad = 0
        try:
            for found, end in read_lines(path, begin):  # noqa: B007 - used below
                if found is not None:
                    yield self._fields(found, path)
                else:
                    bad += 1
        except FileNotFoundError:
            pass
        except RecordError as error:
            self.complain(f"'{below}' {error.reason}")
        if bad:
            self.complain(f"'{below}' has {bad} lines that hold no record")
        if end != begin:
            self._put("sources", ("run", "path"), run=self._id, path=below, offset=end)

    def _put(self, table: str, key: tuple[str, ...], **values: Any) -> None:
        """Insert a row, or update the one with the same key."""
        names = ", ".join(f'"{name}"' for name in values)
        marks = ", ".join("?" * len(values))
        changes = ", ".join(f'"{name}" = excluded."{name}"' for name in values)
        query = (
            f"INSERT INTO {table} ({names}) VALUES ({marks}) "
            f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}"
        )
        self._connection.execute(query, [_storable(value) for value in values.values()])

    def _put_numbered(self, table: str, key: tuple[str, ...], **values: Any) -> int:
        """Insert or update the row; return its id."""
        self._put(table, key, **values)
        # RETURNING needs an SQLite of 2021.
        where = " AND ".join(f'"{name}" = ?' for name in key)
        query = f"SELECT id FROM {table} WHERE {where}"
        found = self._connection.execute(query, [_storable(values[name]) for name in key])
        return int(found.fetchone()[0])


def _below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _storable(value: Any) -> Any:
    return storable(value) if isinstance(value, str) else value


def _has_records(case: Path) -> bool:
    return os.path.lexists(case / CASE_FILE) or os.path.lexists(case / CONTAINERS_FOLDER)


def _folders(folder: Path) -> list[Path]:
    """Return the subfolders without links; none if the folder cannot be read."""
    try:
        with os.scandir(folder) as entries:
            names = [each.name for each in entries if each.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [folder / name for name in sorted(names) if is_name(name)]


def _artifacts(folder: Path) -> Iterator[tuple[str, Path, int]]:
    """Yield kind, path and size (bytes) of each file that is kept in a container's folder."""
    for name, kind in _KINDS.items():
        path = folder / name
        files: Iterable[Path] = [path]
        if path.is_dir() and not path.is_symlink():
            # `os.walk` lists links to folders among the folders; they are not followed.
            files = (
                Path(above, each)
                for above, below, names in os.walk(path)
                for each in (*sorted(names), *(x for x in below if Path(above, x).is_symlink()))
            )
        for file in files:
            try:
                yield kind, file, file.lstat().st_size
            except OSError:
                continue  # missing
