"""Record of a case: its commands and, after a failure, evidence from its containers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from pathlib import Path

from lisa.messages import TestStatus
from lisa.node import Node
from lisa.testsuite import TestResult

from lisa_container.cases.evidence import EVIDENCE_TIME, Part, begin_now, take_evidence
from lisa_container.config import ContainerTestConfig, Evidence, Scope
from lisa_container.container import interrupt
from lisa_container.container.follower import Followed
from lisa_container.engine.waiting import bounded, wait_for
from lisa_container.escaping import printable
from lisa_container.evidence import Begin, NoiseRule
from lisa_container.masking import Masking, Plain
from lisa_container.recording.files import now, run_folder, write_json
from lisa_container.recording.records import (
    CASE_FILE,
    COMMANDS_FILE,
    CONTAINERS_FOLDER,
    FORMAT,
    CaseRecord,
)
from lisa_container.recording.trouble import report_unwritten

FAILED = (TestStatus.FAILED, TestStatus.ATTEMPTED)
"""LISA's statuses of a failed case."""

_cases: dict[str, CaseRecorder] = {}
_lock = threading.Lock()


class CaseRecorder:
    """Recorder of one case. Use `CaseRecorder.of` or `CaseRecorder.reported`.

    Args:
        case_id: LISA's id of the case (`TestResult.id_`).
        name: Name of the case.
        suite: LISA's name of the suite.
        folder: LISA's folder of the case.
    """

    def __init__(self, case_id: str, name: str, suite: str, folder: Path) -> None:
        """Begin the record; the file is written with the first container."""
        self.is_ours = False
        """Whether a suite or decorator of ours ends the case; otherwise LISA's reports end it."""
        self.rules: Iterable[NoiseRule] | None = None
        """Rules for changes to leave out of the evidence; None means the default rules."""
        self.kept: list[Followed] = []
        """Containers that are kept because the case failed."""
        self._folder = folder
        self._suite = suite
        self._parts: list[Part] = []
        self._began = time.monotonic()
        self._mark = interrupt.now()
        self._looking = threading.Lock()
        self._writing = threading.Lock()
        self._record: CaseRecord = {
            "format": FORMAT,
            "id": case_id,
            "name": name,
            "suite": suite,
            "started": now(),
            "ended": "",
            "status": "",
            "message": "",
            "containers": [],
        }

    @classmethod
    def of(cls, result: TestResult, folder: Path) -> CaseRecorder:
        """Return the recorder of a case that code of ours ends; begin one if there is none.

        Args:
            result: LISA's result of the case.
            folder: LISA's folder of the case.
        """
        metadata = result.runtime_data.metadata
        with _lock:
            case = _cases.get(result.id_)
            if case is None or case.has_ended:  # LISA may repeat a failed case
                name, suite = metadata.name, metadata.suite.name
                case = _cases[result.id_] = cls(result.id_, name, suite, folder)
            case.is_ours = True
            return case

    @classmethod
    def reported(cls, case_id: str, name: str, suite: str, folder: Path) -> CaseRecorder:
        """Return the recorder of a case that goes on, for what code of ours does not begin or end.

        Args:
            case_id: LISA's id of the case.
            name: Name of the case.
            suite: LISA's name of the suite.
            folder: LISA's folder of the case.
        """
        with _lock:
            case = _cases.get(case_id)
            if case is None or (case.has_ended and case.status):  # LISA may repeat a failed case
                case = _cases[case_id] = cls(case_id, name, suite, folder)
            elif case.has_ended:  # the decorated case has, but not its `after_case`
                case._record["ended"], case.is_ours = "", False
            return case

    @classmethod
    def with_id(cls, case_id: str) -> CaseRecorder | None:
        """Return the recorder of the case with this id, or None."""
        return _cases.get(case_id)

    @classmethod
    def with_container(cls, executor: Followed) -> CaseRecorder | None:
        """Return the recorder of the case that goes on and has a container, or None."""
        for case in list(_cases.values()):
            if not case.has_ended and executor in case.containers:
                return case
        return None

    @classmethod
    def unended(cls) -> list[CaseRecorder]:
        """Return the recorders of the cases that LISA's reports end."""
        return [case for case in list(_cases.values()) if not case.is_ours and not case.has_ended]

    def add(
        self,
        executor: Followed,
        config: ContainerTestConfig,
        is_own: bool | None = None,
    ) -> None:
        """Record with the case what happens in a container from now on.

        Args:
            executor: Container; nothing changes if the case has it already.
            config: Config of the container in this case.
            is_own: Whether the container started for this case alone; by default its scope tells.
        """
        if run_folder() is None:
            return
        for part in self._parts:
            if part.executor is executor:
                part.renew()
                return
        folder = self._folder / CONTAINERS_FOLDER / executor.name
        capture = executor.capture
        capture.limit, capture.measure = config.capture_limit_bytes, config.measure
        is_default = capture.folder == capture.own_folder
        if is_default or not is_own:
            capture.record_to(folder)
        if is_own is None:
            is_own = config.scope is Scope.CASE
        part = Part(executor, config, folder, Begin() if is_own else None)
        with self._looking:
            self._parts.append(part)
            if not is_own and config.evidence is not Evidence.NEVER:
                part.begin = begin_now(executor)
        capture.update(suite=self._suite, case=self._record["id"] if is_own else "")
        self._record["containers"].append(executor.name)
        self._write()

    def take(self, failure: str | None, executors: Iterable[Followed] | None = None) -> None:
        """Take the evidence that the configs ask for, once, and wait for it for a minute at most.

        The containers must still be there.

        Args:
            failure: Message of the case's failure; None for a case that has not failed.
            executors: Containers whose evidence to take; all by default.
        """
        wanted = None if executors is None else list(executors)
        try:
            bounded(lambda: self._take(failure, wanted), EVIDENCE_TIME)
        except TimeoutError:
            log = self._parts[0].executor.host.log
            log.warning(Plain(f"the evidence in '{self._folder}' is incomplete: it took too long"))

    @property
    def id(self) -> str:
        """LISA's id of the case."""
        return self._record["id"]

    @property
    def containers(self) -> list[Followed]:
        """Containers of the case so far."""
        return [part.executor for part in self._parts]

    @property
    def has_ended(self) -> bool:
        """Whether the case is over."""
        return bool(self._record["ended"])

    @property
    def status(self) -> str:
        """LISA's status of the case in lower case; empty until the case ended."""
        return self._record["status"]

    @property
    def failure(self) -> str | None:
        """LISA's message of the failure; None for a case that has not failed."""
        has_failed = self.status in [status.name.lower() for status in FAILED]
        return (self._record["message"] or "failed") if has_failed else None

    def is_on(self, node: Node) -> bool:
        """Return whether the case has a container on a node."""
        return any(part.executor.host is node for part in self._parts)

    def folder_of(self, executor: Followed) -> Path:
        """Return the folder of a container's records in this case."""
        return self._folder / CONTAINERS_FOLDER / executor.name

    def describe_commands(self) -> str:
        """Return a sentence that names the files of the case's commands, for LISA's message."""
        container = self.containers[0].name if len(self._parts) == 1 else "*"
        files = self._folder / CONTAINERS_FOLDER / container / COMMANDS_FILE
        return f"The commands in its containers, with their output so far: '{printable(files)}'"

    def wait(self) -> None:
        """Wait for evidence that is being taken in another thread."""
        for part in list(self._parts):
            if part.is_taken:
                wait_for(part.done, EVIDENCE_TIME)

    def end(self) -> None:
        """End the record; commands are recorded with their container again."""
        for part in self._parts:
            capture = part.executor.capture
            if capture.folder == part.folder:
                capture.record_to(None)
        self._record["ended"] = now()
        self._write()
        if self._record["status"]:
            _cases.pop(self._record["id"], None)

    def set_result(self, status: TestStatus, message: str) -> None:
        """Record the status and the message that LISA reports at the case's end."""
        self._record["message"], self._record["status"] = message, status.name.lower()
        self._write()
        if self._record["ended"]:
            _cases.pop(self._record["id"], None)

    def _take(self, failure: str | None, executors: list[Followed] | None) -> None:
        with self._looking:
            parts = [x for x in self._parts if executors is None or x.executor in executors]
        mine = [part for part in parts if part.claim()]
        is_interrupted = interrupt.now() != self._mark
        for part in mine:
            try:
                if part.executor.is_started and not is_interrupted:
                    take_evidence(part, failure, self.rules, time.monotonic() - self._began)
            finally:
                part.done.set()
        for part in parts:
            wait_for(part.done, EVIDENCE_TIME)

    def _write(self) -> None:
        if not self._parts:
            return
        try:
            masking = Masking()
            for part in self._parts:
                masking = masking.extended(part.executor.capture.masking.values)
            with self._writing:
                write_json(self._folder / CASE_FILE, masking.anything(self._record))
        except OSError as error:
            log = self._parts[0].executor.host.log
            report_unwritten(log, f"'{CASE_FILE}'", self._folder, error)


def wait_for_evidence(node: Node) -> None:
    """Wait for evidence that is being taken on a node.

    Args:
        node: Node whose connection is about to be closed.
    """
    for case in list(_cases.values()):
        if case.is_on(node):
            case.wait()


def failure_of(result: TestResult) -> str | None:
    """Return the message of a case's failure; None for a case that has not failed."""
    return (result.message or "failed") if result.status in FAILED else None
