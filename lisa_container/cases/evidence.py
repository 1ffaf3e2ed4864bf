"""Evidence of a case from one container."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lisa_container.config import ContainerTestConfig, Evidence
from lisa_container.container.follower import Followed
from lisa_container.engine.waiting import bounded
from lisa_container.errors import ContainerError
from lisa_container.escaping import printable
from lisa_container.evidence import (
    Begin,
    NoiseRule,
    begin_of,
    collect_and_warn,
    default_noise_rules,
    find_changes,
    take_state,
)
from lisa_container.masking import Plain
from lisa_container.recording.files import describe_error, write_json
from lisa_container.recording.records import CHANGES_FILE, STATE_FILE
from lisa_container.recording.trouble import report_unwritten

EVIDENCE_TIME = 60.0
"""Time limit of the evidence, in seconds."""

# Time limit, in seconds, of the scan of a container at a case's begin.
_BEGIN_TIME = 10.0


@dataclass
class Part:
    """Container of a case.

    Args:
        executor: The container.
        config: Config of the container in this case.
        folder: Folder of the container's records in this case.
        begin: State of the file system at the case's begin; None if it is unknown.
    """

    executor: Followed
    config: ContainerTestConfig
    folder: Path
    begin: Begin | None = None
    is_taken: bool = False
    """Whether the evidence is being taken, or was."""
    done: threading.Event = field(default_factory=threading.Event)
    """Set when the evidence was taken."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def claim(self) -> bool:
        """Return whether the caller is the first who is to take the evidence."""
        with self._lock:
            is_first, self.is_taken = not self.is_taken, True
            return is_first

    def renew(self) -> None:
        """Note that the container starts again in the case, after its evidence was taken."""
        with self._lock:
            if self.done.is_set():
                self.is_taken, self.begin = False, Begin()
                self.done.clear()


def begin_now(executor: Followed) -> Begin | None:
    """Return the state of a container's file system now, or None if it cannot be read."""
    try:
        return bounded(lambda: begin_of(executor.engine, executor.name), _BEGIN_TIME)
    except (ContainerError, TimeoutError) as error:
        reason = printable(error)
        executor.host.log.debug(f"changes in {executor!r} during the case are unknown: {reason}")
        return None


def take_evidence(
    part: Part, failure: str | None, rules: Iterable[NoiseRule] | None, seconds: float
) -> None:
    """Take the evidence that the config asks for, as far as the time goes; log what fails.

    Args:
        part: Container, which is still there.
        failure: Message of the case's failure; None for a case that has not failed.
        rules: Rules for changes to leave out; None means the default rules.
        seconds: Seconds since the case began.
    """
    executor, config, log = part.executor, part.config, part.executor.host.log
    is_all = config.evidence is Evidence.ALWAYS or (
        config.evidence is Evidence.FAILURE and failure is not None
    )
    problems: list[str] = []
    unwritten: dict[str, OSError] = {}
    if not is_all and not config.artifacts:
        return
    deadline = time.monotonic() + EVIDENCE_TIME

    def attempt(what: str, job: Callable[[], None]) -> None:
        try:
            job()
        except ContainerError as error:
            problems.append(f"{what}: {error}")
        except OSError as error:
            problems.append(f"{what}: {error}")
            unwritten[problems[-1]] = error
        except Exception as error:  # our own bug must not hide why the case failed
            problems.append(f"{what}: {describe_error(error)}")

    collected: list[Path] = []

    def copy_artifacts() -> None:
        collected.extend(collect_and_warn(executor, config.artifacts, part.folder))

    def take_all() -> None:
        masking, limit = executor.capture.masking, config.capture_limit_bytes
        reason = failure if failure is not None else "evidence: always"
        state = take_state(
            executor.engine, executor.name, part.folder, masking, reason, seconds, limit
        )
        executor.capture.update(exit_code=state["exit_code"], oom_killed=state["oom_killed"])
        if config.artifacts:
            attempt("artifacts", copy_artifacts)
        attempt("changes", changes)
        state["files"] = [str(path.relative_to(part.folder)) for path in collected]
        state["problems"] += masking.anything(problems)
        write_json(part.folder / STATE_FILE, state)

    def changes() -> None:
        if part.begin is None:
            problems.append("changes: the container's files at the case's begin are unknown")
            return
        used = default_noise_rules() if rules is None else rules
        result = find_changes(executor.engine, executor.name, part.begin, used, deadline)
        write_json(part.folder / CHANGES_FILE, executor.capture.masking.anything(result))

    if is_all:
        attempt("evidence", take_all)
        log.info(Plain(f"evidence of {executor!r} is in '{printable(part.folder)}'"))
    else:
        attempt("artifacts", copy_artifacts)
    for problem in problems:
        if problem in unwritten:
            report_unwritten(log, f"evidence of {executor!r}", part.folder, unwritten[problem])
        else:
            log.warning(Plain(f"evidence of {executor!r} is incomplete: {printable(problem)}"))
