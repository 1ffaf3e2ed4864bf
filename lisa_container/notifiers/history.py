"""Recorder of LISA's reports about a run: writes them to the run's folder and to the index.

Only LISA's notifiers see the result of every case, including cases without a container.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lisa import schema
from lisa.messages import (
    MessageBase,
    SubTestMessage,
    TestResultMessage,
    TestResultMessageBase,
    TestRunMessage,
    TestStatus,
)

from lisa_container.container import interrupt
from lisa_container.errors import ArtifactIndexError
from lisa_container.escaping import printable
from lisa_container.history.index import Index
from lisa_container.history.ingest import catch_up, ingest_run
from lisa_container.history.place import log_folder
from lisa_container.masking import KNOWN, Plain
from lisa_container.notifiers.listener import Listener
from lisa_container.recording.files import (
    iso,
    json_line,
    now,
    open_to_write,
    run_folder,
    write_json,
)
from lisa_container.recording.records import (
    CONTAINERS_FOLDER,
    FORMAT,
    RESULTS_FILE,
    RUN_FILE,
    ResultRecord,
    RunRecord,
)
from lisa_container.recording.trouble import report_unwritten

# Minimum time in seconds between two updates of the index: a run of ten thousand short cases must
# not wait for the disk after each.
_PAUSE = 1.0
# Bytes of results that wait for room on the disk; more are dropped.
_MOST_UNWRITTEN = 4 << 20
# Time limit of the wait for the ends of cases after Ctrl-C, and between two looks, in seconds.
_PATIENCE, _SLICE = 10.0, 0.1
# Message of a case that had not begun when the run ended.
_NOT_RUN = "it did not run"


class RunListener(Listener):
    """Listener that records LISA's reports about a run and its cases."""

    def __init__(self, runbook: schema.TypedSchema) -> None:
        """Start without a run; LISA's first message begins it."""
        super().__init__(runbook)
        self._folder: Path | None = None
        self._run: RunRecord | None = None
        self._results: IO[bytes] | None = None
        self._index: Index | None = None
        self._mark = 0
        self._begun: dict[str, str] = {}
        # Ids of the cases that have begun and not ended.
        self._unended: set[str] = set()
        # Reports of the cases that have not begun, by their ids.
        self._waiting: dict[str, TestResultMessage] = {}
        self._ended: set[Path] = set()
        self._updated = 0.0
        self._unwritten = bytearray()

    def _subscribed_message_type(self) -> list[type[MessageBase]]:
        return [TestRunMessage, TestResultMessage, SubTestMessage]

    def _handle_message(self, message: MessageBase) -> None:
        if isinstance(message, TestRunMessage):
            if self._results is None:
                self._begin(message)
            elif message.message and self._run is not None:
                self._run["message"] = KNOWN.text(message.message)
                self._write_run()
        elif isinstance(message, TestResultMessageBase) and self._results is not None:
            self._record_result(message)

    def _end(self) -> None:
        if self._run is not None:
            self._run["ended"] = now()
            if interrupt.now() != self._mark:
                self._run["interrupted"] = True
                self._await_cases()
            for message in self._waiting.values():
                queued = TestStatus.QUEUED.name.lower()
                line = {**self._line_of(message), "status": queued, "message": _NOT_RUN}
                self._write_results(json_line(line))
            self._write_results(b"")
            self._write_run()
            self._update_index(None)
        self._close()

    def _await_cases(self) -> None:
        """Wait for the ends of the cases that run: after Ctrl-C, LISA's runner does not."""
        deadline = time.monotonic() + _PATIENCE
        while self._unended and time.monotonic() < deadline:
            time.sleep(_SLICE)

    def _begin(self, message: TestRunMessage) -> None:
        self._folder = run_folder()
        if self._folder is None:
            return
        self._mark = interrupt.now()
        own = self._folder / CONTAINERS_FOLDER
        with self._recording("results of cases"):
            own.mkdir(exist_ok=True)
            number = open_to_write(own / RESULTS_FILE, os.O_APPEND)
            self._results = os.fdopen(number, "ab", buffering=0)
            # Held while this process lives; see ingest.is_alive.
            fcntl.flock(self._results, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._run = {
            "format": FORMAT,
            "run": self._folder.name,
            "name": message.runbook_name or "",
            "started": now(),
            "runner": platform.node(),
            "pid": os.getpid(),
            "versions": _versions(),
        }
        self._write_run()
        log = log_folder()
        assert log is not None
        with self._tolerant("open the index over all runs"):
            self._index = Index(log)
            problems = catch_up(self._index)
            if problems:
                self._log.warning(
                    Plain(
                        f"{len(problems)} records of earlier runs cannot be read, such as "
                        f"{printable(problems[0])}. 'lisa-container history --rebuild' names all"
                    )
                )

    def _record_result(self, message: TestResultMessageBase) -> None:
        is_part = isinstance(message, SubTestMessage)
        is_begin = message.status == TestStatus.RUNNING and not is_part
        if is_begin:
            self._begun[message.id_] = _time_of(message)
            self._unended.add(message.id_)
        elif not message.is_completed:
            if isinstance(message, TestResultMessage) and message.id_ not in self._begun:
                self._waiting[message.id_] = message
            return
        if not is_part:
            self._waiting.pop(message.id_, None)
        line = self._line_of(message)
        self._write_results(json_line(line))
        if is_begin or is_part:
            return
        self._unended.discard(message.id_)
        if line["folder"] and self._folder is not None:
            self._ended.add(self._folder / line["folder"])
        if time.monotonic() - self._updated > _PAUSE:
            self._update_index(self._ended)

    def _line_of(self, message: TestResultMessageBase) -> ResultRecord:
        is_part, is_over = isinstance(message, SubTestMessage), message.is_completed
        log_file = getattr(message, "log_file", "")
        return {
            "id": message.id_,
            "parent": getattr(message, "parent_test", ""),
            "suite": getattr(message, "suite_name", ""),
            "name": message.name,
            "status": message.status.name.lower(),
            "message": KNOWN.text(message.message),
            "started": None if is_part else self._begun.get(message.id_),
            "ended": _time_of(message) if is_over else None,
            "duration": _duration(message) if is_over else None,
            "folder": Path(log_file).parent.as_posix() if log_file else "",
        }

    def _update_index(self, cases: set[Path] | None) -> None:
        """Ingest the new records of some cases, or of all, into the index."""
        if self._index is not None and self._folder is not None:
            with self._tolerant("write the index over all runs"):
                try:
                    ingest_run(self._index, self._folder, cases)
                except ArtifactIndexError:
                    # A further attempt may wait for the lock again. The next run or query ingests
                    # the files.
                    self._index.close()
                    self._index = None
                    raise
            self._ended = set()
            self._updated = time.monotonic()

    def _write_results(self, line: bytes) -> None:
        """Append a line to the results, after those that found no room on the disk before."""
        if self._results is None:
            return
        if len(self._unwritten) + len(line) <= _MOST_UNWRITTEN:
            self._unwritten += line
        with self._recording("results of cases"):
            while self._unwritten:
                del self._unwritten[: self._results.write(self._unwritten)]

    def _write_run(self) -> None:
        if self._folder is not None:
            with self._recording(f"'{RUN_FILE}'"):
                write_json(self._folder / CONTAINERS_FOLDER / RUN_FILE, self._run)

    @contextlib.contextmanager
    def _recording(self, what: str) -> Iterator[None]:
        """Report an error of writing to the run's folder instead of raising it."""
        assert self._folder is not None
        try:
            yield
        except OSError as error:
            report_unwritten(self._log, what, self._folder / CONTAINERS_FOLDER, error)

    def _close(self) -> None:
        for each in (self._results, self._index):
            if each is not None:
                with contextlib.suppress(OSError):
                    each.close()
        self._results = self._index = self._folder = self._run = None
        self._begun, self._unended, self._waiting = {}, set(), {}


def _time_of(message: MessageBase) -> str:
    return iso(message.time) if message.time is not None else now()


def _duration(message: TestResultMessageBase) -> float | None:
    if isinstance(message, SubTestMessage):  # `elapsed` is that of the case
        return message.subtest_duration
    return round(float(message.elapsed), 6)


def _versions() -> dict[str, str]:
    packages = {"lisa_container": "lisa_container", "lisa": "mslisa"}
    versions = {"python": platform.python_version()}
    for name, package in packages.items():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(package)
    return versions
