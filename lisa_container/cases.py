"""What is recorded of each case: its commands, and on failure all about its containers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from lisa.messages import TestStatus
from lisa.node import Node
from lisa.testsuite import TestResult

from lisa_container import interrupt
from lisa_container.capture.evidence import (
    Begin,
    NoiseRule,
    begin_of,
    default_noise_rules,
    find_changes,
    take_state,
)
from lisa_container.capture.files import now, run_folder, told, write_json
from lisa_container.capture.masking import Masking
from lisa_container.capture.records import (
    CASE_FILE,
    CHANGES_FILE,
    CONTAINERS_FOLDER,
    FORMAT,
    STATE_FILE,
    CaseRecord,
)
from lisa_container.config import ContainerTestConfig, Evidence, Scope
from lisa_container.engine.waiting import bounded, wait_for
from lisa_container.errors import ContainerError
from lisa_container.executor import ContainerExecutor

# How long (seconds) evidence may take, and the look at a container at a case's begin.
EVIDENCE_TIME = 60.0
_BEGIN_TIME = 10.0

FAILED = (TestStatus.FAILED, TestStatus.ATTEMPTED)
"""How LISA says that a case has failed."""

_cases: dict[str, CaseRecorder] = {}
_lock = threading.Lock()


@dataclass
class _Part:
    """A container that a case has.

    Args:
        executor: of the container.
        config: as the case has it.
        folder: what is recorded goes there.
        begin: how its file system was; None where nobody knows.
    """

    executor: ContainerExecutor
    config: ContainerTestConfig
    folder: Path
    begin: Begin | None = None


class CaseRecorder:
    """Records one case. Use `CaseRecorder.of(result, folder)`, or `CaseRecorder.on_guest`.

    Args:
        case_id: `TestResult.id_`.
        name: of the case.
        suite: LISA's name of the suite.
        folder: LISA's own of the case.
        is_ours: a suite of ours, or a decorator, tells of its end.
    """

    def __init__(self, case_id: str, name: str, suite: str, folder: Path, is_ours: bool) -> None:
        self._folder = folder
        self._suite = suite
        self._is_ours = is_ours
        self._parts: list[_Part] = []
        self._began = time.monotonic()
        self._mark = interrupt.now()
        self._is_taken = False
        self._taking = threading.Event()
        self._taking.set()
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
        """That of a case, from its first container on."""
        metadata = result.runtime_data.metadata
        with _lock:
            found = _cases.get(result.id_)
            if found is None or found.has_ended:  # LISA may repeat a failed case
                name, suite = metadata.name, metadata.suite.name
                found = _cases[result.id_] = cls(result.id_, name, suite, folder, True)
            found._is_ours = True
            return found

    @classmethod
    def on_guest(cls, case_id: str, name: str, suite: str, folder: Path) -> CaseRecorder:
        """That of a case that LISA tells of; see the class for the arguments."""
        with _lock:
            if case_id not in _cases:
                _cases[case_id] = cls(case_id, name, suite, folder, False)
            return _cases[case_id]

    @classmethod
    def of_guest(cls, executor: ContainerExecutor) -> CaseRecorder | None:
        """That of the case which has a container as its node, and tells nobody of its end."""
        for case in list(_cases.values()):
            if not case._is_ours and any(part.executor is executor for part in case._parts):
                return case
        return None

    @classmethod
    def found(cls, result: TestResult) -> CaseRecorder | None:
        """The same, if there is one."""
        return cls.with_id(result.id_)

    @classmethod
    def with_id(cls, case_id: str) -> CaseRecorder | None:
        """The same by the case's id."""
        return _cases.get(case_id)

    def add(
        self,
        executor: ContainerExecutor,
        config: ContainerTestConfig,
        since: float | None = None,
    ) -> None:
        """The case has a container: what happens in that is recorded with the case from now on.

        Args:
            executor: of the container; harmless where the case has it already.
            config: as the case has it.
            since: when the case began (seconds since 1970), if that was a while ago.
        """
        if run_folder() is None or any(part.executor is executor for part in self._parts):
            return
        folder = self._folder / CONTAINERS_FOLDER / executor.name
        capture = executor.capture
        capture.limit, capture.measure = config.capture_limit_bytes, config.measure
        capture.to(folder, since)
        is_own = config.scope is Scope.CASE
        part = _Part(executor, config, folder, Begin() if is_own else None)
        with self._looking:
            self._parts.append(part)
            if not is_own and config.evidence is not Evidence.NEVER:
                part.begin = _begin(executor)
        capture.tell(suite=self._suite, case=self._record["id"] if is_own else "")
        self._record["containers"].append(executor.name)
        self._write()

    def take(self, failure: str | None, rules: Iterable[NoiseRule] | None = None) -> None:
        """Keep what the configs ask for, once; the containers are still there.

        Args:
            failure: what the case failed with; None where it has not failed.
            rules: for changes that are left out; None: the default ones.
        """
        with _lock:
            if self._is_taken:
                is_first = False
            else:
                is_first = self._is_taken = True
                self._taking.clear()
        if not is_first:
            self.wait()
            return
        try:
            is_interrupted = interrupt.now() != self._mark
            with self._looking:
                for part in [] if is_interrupted else self._parts:
                    _take(part, failure, rules, time.monotonic() - self._began)
        finally:
            self._taking.set()

    def take_within(self, failure: str | None, rules: Iterable[NoiseRule] | None) -> None:
        """As `take`, but nobody waits any longer than a minute for it."""
        try:
            bounded(lambda: self.take(failure, rules), EVIDENCE_TIME)
        except TimeoutError:
            log = self._parts[0].executor.host.log
            log.warning(f"the evidence in '{self._folder}' is not whole: it took too long")

    @property
    def has_ended(self) -> bool:
        """Whether the case is over."""
        return bool(self._record["ended"])

    @property
    def status(self) -> str:
        """How LISA says that it ended; empty until then."""
        return self._record["status"]

    @property
    def failure(self) -> str | None:
        """What LISA says that it failed with; None where it has not."""
        has_failed = self.status in [status.name.lower() for status in FAILED]
        return (self._record["message"] or "failed") if has_failed else None

    def is_on(self, node: Node) -> bool:
        """Whether it has a container on a node."""
        return any(part.executor.host is node for part in self._parts)

    def wait(self) -> None:
        """Wait for evidence that is being taken in another thread."""
        wait_for(self._taking, EVIDENCE_TIME)

    def end(self) -> None:
        """The case has ended, and what was made for it goes."""
        for part in self._parts:
            part.executor.capture.to(None)
        self._record["ended"] = now()
        self._write()
        if self._record["status"]:
            _cases.pop(self._record["id"], None)

    def tell(self, status: TestStatus, message: str) -> None:
        """LISA tells how it ended."""
        self._record["message"], self._record["status"] = message, status.name.lower()
        self._write()
        if self._record["ended"]:
            _cases.pop(self._record["id"], None)

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
            log.warning(f"'{self._folder / CASE_FILE}' cannot be written: {error}")


def wait_for_evidence(node: Node) -> None:
    """Wait for evidence that is being taken on a node.

    Args:
        node: whose connection is about to be closed.
    """
    for case in list(_cases.values()):
        if case.is_on(node):
            case.wait()


def failure_of(result: TestResult) -> str | None:
    """What a case failed with; None where it has not."""
    return (result.message or "failed") if result.status in FAILED else None


def _begin(executor: ContainerExecutor) -> Begin | None:
    try:
        return bounded(lambda: begin_of(executor.engine, executor.name), _BEGIN_TIME)
    except (ContainerError, TimeoutError) as error:
        executor.host.log.debug(f"what the case changes in {executor!r} nobody can tell: {error}")
        return None


def _take(
    part: _Part, failure: str | None, rules: Iterable[NoiseRule] | None, seconds: float
) -> None:
    """In one thread, as far as the time goes; nothing here is raised but what ends the thread."""
    executor, config, log = part.executor, part.config, part.executor.host.log
    is_all = config.evidence is Evidence.ALWAYS or (
        config.evidence is Evidence.FAILURE and failure is not None
    )
    problems: list[str] = []
    if not is_all and not config.artifacts:
        return
    deadline = time.monotonic() + EVIDENCE_TIME

    def attempt(what: str, job: Callable[[], None]) -> None:
        try:
            job()
        except (ContainerError, OSError) as error:
            problems.append(f"{what}: {error}")
        except Exception as error:  # a wrong one of ours must not hide why the case failed
            problems.append(f"{what}: {told(error)}")

    collected: list[Path] = []

    def collect() -> None:
        collected.extend(executor.collect(config.artifacts, part.folder))

    def take_all() -> None:
        masking, limit = executor.capture.masking, config.capture_limit_bytes
        reason = failure if failure is not None else "evidence: always"
        state = take_state(
            executor.engine, executor.name, part.folder, masking, reason, seconds, limit
        )
        executor.capture.tell(exit_code=state["exit_code"], oom_killed=state["oom_killed"])
        if config.artifacts:
            attempt("artifacts", collect)
        attempt("changes", changes)
        state["files"] = [str(path.relative_to(part.folder)) for path in collected]
        state["problems"] += masking.anything(problems)
        write_json(part.folder / STATE_FILE, state)

    def changes() -> None:
        if part.begin is None:
            problems.append("changes: how the container was at the case's begin is not known")
            return
        used = default_noise_rules() if rules is None else rules
        found = find_changes(executor.engine, executor.name, part.begin, used, deadline)
        write_json(part.folder / CHANGES_FILE, executor.capture.masking.anything(found))

    if is_all:
        attempt("evidence", take_all)
        log.info(f"evidence of {executor!r} is in '{part.folder}'")
    else:
        attempt("artifacts", collect)
    for problem in problems:
        log.warning(f"evidence of {executor!r} is not whole: {problem}")
