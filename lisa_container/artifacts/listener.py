"""What LISA tells of a run and its cases: written into the run's folder, then taken into the index.

LISA's notifiers are the only ones that see the result of every case, also of those that have no
container.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import os
import platform
import time
from pathlib import Path
from typing import IO, Any

from lisa import schema, secret
from lisa.messages import (
    MessageBase,
    SubTestMessage,
    TestResultMessage,
    TestResultMessageBase,
    TestRunMessage,
    TestStatus,
)

from lisa_container.artifacts.index import Index
from lisa_container.artifacts.ingest import catch_up, take_in
from lisa_container.artifacts.place import log_folder
from lisa_container.capture.files import iso, json_line, now, run_folder, write_json
from lisa_container.capture.records import (
    CONTAINERS_FOLDER,
    FORMAT,
    RESULTS_FILE,
    RUN_FILE,
    ResultRecord,
    RunRecord,
)
from lisa_container.errors import ArtifactIndexError
from lisa_container.listening import Listener

# Seconds between two looks at the index for cases that have ended: one that has ten thousand of a
# millisecond shall not wait for a disk each time.
_PAUSE = 1.0


class RunListener(Listener):
    """LISA's reports of a run and its cases."""

    def __init__(self, runbook: schema.TypedSchema) -> None:
        super().__init__(runbook)
        self._folder: Path | None = None
        self._run: RunRecord | None = None
        self._results: IO[bytes] | None = None
        self._index: Index | None = None
        self._begun: dict[str, str] = {}
        self._ended: set[Path] = set()
        self._looked = 0.0

    def _subscribed_message_type(self) -> list[type[MessageBase]]:
        return [TestRunMessage, TestResultMessage, SubTestMessage]

    def _received_message(self, message: MessageBase) -> None:
        if isinstance(message, TestRunMessage):
            if self._results is None:
                self._begin(message)
            elif message.message and self._run is not None:
                self._run["message"] = secret.mask(message.message)
                self._write_run()
        elif isinstance(message, TestResultMessageBase) and self._results is not None:
            self._take(message)

    def finalize(self) -> None:
        """LISA's end: nothing more comes."""
        if self._run is not None:
            self._run["ended"] = now()
            self._write_run()
            self._look(None)
        self._close()

    def _begin(self, message: TestRunMessage) -> None:
        self._folder = run_folder()
        if self._folder is None:
            return
        own = self._folder / CONTAINERS_FOLDER
        with self._tolerant("write into the run's folder"):
            own.mkdir(exist_ok=True)
            self._results = (own / RESULTS_FILE).open("ab", buffering=0)
            # As long as this process lives; see ingest.is_alive.
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
            catch_up(self._index)

    def _take(self, message: TestResultMessageBase) -> None:
        is_part = isinstance(message, SubTestMessage)
        is_begin = message.status == TestStatus.RUNNING and not is_part
        if is_begin:
            self._begun[message.id_] = _time_of(message)
        elif not message.is_completed:
            return
        log_file = getattr(message, "log_file", "")
        folder = Path(log_file).parent.as_posix() if log_file else ""
        line: ResultRecord = {
            "id": message.id_,
            "parent": getattr(message, "parent_test", ""),
            "suite": getattr(message, "suite_name", ""),
            "name": message.name,
            "status": message.status.name.lower(),
            "message": secret.mask(message.message),
            "started": None if is_part else self._begun.get(message.id_),
            "ended": None if is_begin else _time_of(message),
            "duration": None if is_begin else _duration(message),
            "folder": folder,
        }
        with self._tolerant("write the results of cases"):
            assert self._results is not None
            self._results.write(json_line(line))
        if is_begin or is_part:
            return
        if folder and self._folder is not None:
            self._ended.add(self._folder / folder)
        if time.monotonic() - self._looked > _PAUSE:
            self._look(self._ended)

    def _look(self, cases: set[Path] | None) -> None:
        """Have the index take in what is new: of some cases, or all."""
        if self._index is not None and self._folder is not None:
            with self._tolerant("write the index over all runs"):
                take_in(self._index, self._folder, cases)
            self._ended = set()
            self._looked = time.monotonic()

    def _write_run(self) -> None:
        if self._folder is not None:
            with self._tolerant("write into the run's folder"):
                write_json(self._folder / CONTAINERS_FOLDER / RUN_FILE, self._run)

    def _close(self) -> None:
        for each in (self._results, self._index):
            if each is not None:
                with contextlib.suppress(OSError):
                    each.close()
        self._results = self._index = self._folder = self._run = None

    @contextlib.contextmanager
    def _tolerant(self, what: str) -> Any:
        """No test fails because its records cannot be kept."""
        try:
            yield
        except (OSError, ArtifactIndexError) as error:
            self._log.warning(f"cannot {what}: {error}")


def _time_of(message: MessageBase) -> str:
    return iso(message.time) if message.time is not None else now()


def _duration(message: TestResultMessageBase) -> float | None:
    if isinstance(message, SubTestMessage):  # what has elapsed is the case's until then
        return message.subtest_duration
    return round(float(message.elapsed), 6)


def _versions() -> dict[str, str]:
    packages = {"lisa_container": "lisa_container", "lisa": "mslisa"}
    found = {"python": platform.python_version()}
    for name, package in packages.items():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(package)
    return found
