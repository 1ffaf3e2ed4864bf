"""A run's files, taken into the index. It can be done again: what is there is replaced."""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lisa_container.artifacts.index import Index
from lisa_container.artifacts.place import run_folders
from lisa_container.artifacts.read import read_json, read_lines, read_list
from lisa_container.capture.records import (
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

RUNNING, ENDED, CUT_SHORT = "running", "ended", "cut short"
"""States of a run."""

# The folder of what is recorded with a case.
_RECORDS = f"*/*/{CONTAINERS_FOLDER}"
# Folders and files in a container's folder -> what they are in the index.
_KINDS = {
    FILES_FOLDER: "file",
    OUTPUT_FOLDER: "output",
    CHANGES_FILE: "changes",
    INSPECT_FILE: "inspect",
    LOG_FILE: "log",
    STATE_FILE: "state",
}


def take_in(index: Index, folder: Path, cases: Iterable[Path] | None = None) -> None:
    """Take a run's files into the index.

    Args:
        index: of the log folder.
        folder: of the run.
        cases: folders of the cases that have something new; None takes in all there is.

    Raises:
        ArtifactIndexError: the index cannot be written.
    """
    with index.change() as connection:
        _Run(connection, index.log, folder).take_in(None if cases is None else list(cases))


def catch_up(index: Index) -> None:
    """Take in what is new of each run that the index believes to be running, and of runs that it
    does not know: their runners may have been killed.

    Args:
        index: of the log folder.

    Raises:
        ArtifactIndexError: the index cannot be written.
    """
    known = {row["folder"]: row["state"] for row in index.read("SELECT folder, state FROM runs")}
    for folder in run_folders(index.log):
        if known.get(folder.relative_to(index.log).as_posix()) in (None, RUNNING):
            take_in(index, folder)


def is_alive(folder: Path) -> bool:
    """Whether the runner of a run still lives: it holds a lock on its results, and the kernel
    releases that also after kill -9.

    Args:
        folder: of the run.
    """
    try:
        with (folder / CONTAINERS_FOLDER / RESULTS_FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


class _Run:
    """One run in a transaction."""

    def __init__(self, connection: sqlite3.Connection, log: Path, folder: Path) -> None:
        self._connection = connection
        self._log = log
        self._folder = folder
        self._id = 0

    def take_in(self, cases: list[Path] | None) -> None:
        self._take_run()
        self._take_results()
        own = self._folder / CONTAINERS_FOLDER
        if cases is None:
            found = [*self._folder.glob(f"*/*/{CASE_FILE}"), *self._folder.glob(_RECORDS)]
            cases = sorted({path.parent for path in found})
            names = [path.parent.name for path in own.glob(f"*/{CONTAINER_FILE}")]
        else:
            names = [x for case in cases for x in read_json(case / CASE_FILE).get("containers", [])]
            names += [path.name for case in cases for path in case.glob(f"{CONTAINERS_FOLDER}/*")]
        for name in dict.fromkeys(names):
            self._take_container(own / name)
            self._take_records(own / name, None)
        for case in cases:
            number = self._case_of(case)
            for container in sorted(case.glob(f"{CONTAINERS_FOLDER}/*/")):
                self._take_records(container, number)

    def _take_run(self) -> None:
        found = read_json(self._folder / CONTAINERS_FOLDER / RUN_FILE)
        ended = found.get("ended")
        state = ENDED if ended else RUNNING if is_alive(self._folder) else CUT_SHORT
        self._id = self._put_numbered(
            "runs",
            ("folder",),
            folder=self._below(self._folder, self._log),
            run=found.get("run") or self._folder.name,
            name=found.get("name") or "",
            started=found.get("started") or "",
            ended=ended,
            state=state,
            message=found.get("message") or "",
            runner=found.get("runner") or "",
            versions=json.dumps(found.get("versions") or {}),
        )

    def _take_results(self) -> None:
        for line in self._new_lines(self._folder / CONTAINERS_FOLDER / RESULTS_FILE):
            self._put_case(line, line.get("folder") or "")

    def _case_of(self, folder: Path) -> int | None:
        """The row of the case in a folder; made from its own file where its runner was killed
        before it could tell of it."""
        below = self._below(folder, self._folder)
        found = self._find_case(below)
        case = {} if found is not None else read_json(folder / CASE_FILE)
        if case:
            # Only a result of LISA's says how it ended.
            self._put_case({**case, "status": "", "message": ""}, below)
            found = self._find_case(below)
        return found

    def _find_case(self, below: str) -> int | None:
        query = "SELECT id FROM cases WHERE run = ? AND folder = ? AND parent = ''"
        row = self._connection.execute(query, (self._id, below)).fetchone()
        return None if row is None else int(row["id"])

    def _put_case(self, case: dict[str, Any], below: str) -> None:
        self._put(
            "cases",
            ("run", "result", "parent", "name"),
            run=self._id,
            result=case.get("id") or "",
            parent=case.get("parent") or "",
            suite=case.get("suite") or "",
            name=case.get("name") or "",
            status=case.get("status") or "",
            message=case.get("message") or "",
            started=case.get("started"),
            duration=case.get("duration"),
            folder=below,
        )

    def _take_container(self, folder: Path) -> None:
        found = read_json(folder / CONTAINER_FILE)
        if not found:
            return
        image = self._put_numbered(
            "images",
            ("reference", "image_id"),
            reference=found.get("image") or "",
            image_id=found.get("image_id") or "",
        )
        name = found.get("name") or folder.name
        self._put(
            "containers",
            ("run", "name"),
            run=self._id,
            name=name,
            container_id=found.get("id") or "",
            node=found.get("node") or "",
            engine=found.get("engine") or "",
            image=image,
            suite=found.get("suite") or "",
            case=found.get("case") or "",
            started=found.get("started"),
            ended=found.get("ended") or None,
            exit_code=found.get("exit_code"),
            oom_killed=found.get("oom_killed"),
            config=json.dumps(found.get("config") or {}),
        )
        for tool in read_list(folder / TOOLS_FILE):
            words = ("name", "version", "manager", "command", "origin", "checksum")
            self._put(
                "tools",
                ("run", "container", "manager", "name"),
                run=self._id,
                container=name,
                **{word: tool.get(word) or "" for word in words},
            )

    def _take_records(self, folder: Path, case: int | None) -> None:
        """Commands and artifacts in a container's folder."""
        path = folder / COMMANDS_FILE
        for line in self._new_lines(path):
            stdout, stderr = (line.get(stream) or {} for stream in ("stdout", "stderr"))
            used = line.get("resources") or {}
            self._put(
                "commands",
                ("run", "file", "n"),
                run=self._id,
                file=self._below(path, self._folder),
                n=line.get("n") or 0,
                container=folder.name,
                case=case,
                state=line.get("state") or "",
                command=line.get("command") or "",
                cwd=line.get("cwd") or "",
                user=line.get("user") or "",
                started=line.get("started"),
                duration=line.get("duration"),
                exit_code=line.get("exit_code"),
                signal=line.get("signal"),
                error=line.get("error") or "",
                stdout_bytes=stdout.get("bytes"),
                stderr_bytes=stderr.get("bytes"),
                cpu=used.get("cpu"),
                memory_peak=used.get("memory_peak"),
                read_bytes=used.get("read"),
                written_bytes=used.get("written"),
            )
        for kind, file in _artifacts(folder):
            self._put(
                "artifacts",
                ("run", "path"),
                run=self._id,
                path=self._below(file, self._folder),
                container=folder.name,
                case=case,
                kind=kind,
                size=file.lstat().st_size,
            )

    def _new_lines(self, path: Path) -> list[dict[str, Any]]:
        below = self._below(path, self._folder)
        query = "SELECT offset FROM sources WHERE run = ? AND path = ?"
        row = self._connection.execute(query, (self._id, below)).fetchone()
        offset = int(row["offset"]) if row is not None else 0
        lines, end = read_lines(path, offset)
        if end != offset:
            self._put("sources", ("run", "path"), run=self._id, path=below, offset=end)
        return lines

    def _put(self, table: str, key: tuple[str, ...], **values: Any) -> None:
        """Insert a row, or change the one with the same key."""
        names = ", ".join(f'"{name}"' for name in values)
        marks = ", ".join("?" * len(values))
        changes = ", ".join(f'"{name}" = excluded."{name}"' for name in values)
        query = (
            f"INSERT INTO {table} ({names}) VALUES ({marks}) "
            f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}"
        )
        self._connection.execute(query, tuple(values.values()))

    def _put_numbered(self, table: str, key: tuple[str, ...], **values: Any) -> int:
        """The same; the number of the row. (RETURNING needs an SQLite of 2021.)"""
        self._put(table, key, **values)
        where = " AND ".join(f'"{name}" = ?' for name in key)
        query = f"SELECT id FROM {table} WHERE {where}"
        return int(self._connection.execute(query, [values[name] for name in key]).fetchone()[0])

    @staticmethod
    def _below(path: Path, folder: Path) -> str:
        return path.relative_to(folder).as_posix()


def _artifacts(folder: Path) -> Iterator[tuple[str, Path]]:
    for name, kind in _KINDS.items():
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            for file in sorted(path.rglob("*")):
                if file.is_symlink() or not file.is_dir():
                    yield kind, file
        elif path.exists():
            yield kind, path
