"""Containers that a case starts itself; their records belong to the case."""

from __future__ import annotations

import contextlib
from pathlib import Path

from lisa_container.cases.containers import NodeContainers
from lisa_container.cases.current import case_of
from lisa_container.cases.evidence import EVIDENCE_TIME, Part, take_evidence
from lisa_container.cases.keep import keep_if_asked
from lisa_container.cases.life import is_no_failure
from lisa_container.cases.recorder import CaseRecorder
from lisa_container.container.follower import Followed, follow_with
from lisa_container.engine.waiting import bounded
from lisa_container.escaping import printable
from lisa_container.evidence import Begin
from lisa_container.masking import Plain
from lisa_container.recording.files import describe_error, run_folder


def follow_containers() -> None:
    """Record from now on what happens in containers with the cases in which they start."""
    follow_with(_CaseFollower())


class _CaseFollower:
    """Follower of containers: assigns those that start in a case to the case."""

    def started(self, executor: Followed) -> None:
        """Record the container's commands with the case that runs, if there is one."""
        if run_folder() is None:
            return
        try:
            current = case_of(executor.host)
            if current is None:
                return
            case = CaseRecorder.reported(current.id, current.name, current.suite, current.folder)
            case.add(executor, executor.config, is_own=True)
            for node in current.nodes:
                NodeContainers.of(node)  # LISA closes it after the case, which ends the record
        except Exception as error:  # a bug of ours must not fail the case
            reason = printable(describe_error(error))
            executor.host.log.warning(
                Plain(f"{executor!r} is not recorded with its case: {reason}")
            )

    def has(self, executor: Followed) -> bool:
        """Return whether a case that goes on has the container."""
        return CaseRecorder.with_container(executor) is not None

    def ending(self, executor: Followed, error: BaseException | None) -> None:
        """Take the evidence of the container, which is about to be removed; keep it if asked.

        Args:
            executor: The container.
            error: Exception that ends the use of the container; None if there is none.
        """
        case = CaseRecorder.with_container(executor)
        if case is None:
            return
        has_failed = error is not None and not is_no_failure(error)
        case.take(describe_error(error) if error is not None and has_failed else None, [executor])
        if error is not None and has_failed:
            keep_if_asked(executor)


def folder_of(executor: Followed) -> Path | None:
    """Return the folder of a container in the case that has it, or None."""
    case = CaseRecorder.with_container(executor)
    return None if case is None else case.folder_of(executor)


def take_evidence_of(
    executor: Followed, failure: str | None, folder: Path | None, seconds: float
) -> None:
    """Take the evidence of a running container, for its case or into a folder.

    Args:
        executor: The container.
        failure: Message of the failure; None if nothing has failed.
        folder: Folder for a container that no case has; None then takes no evidence.
        seconds: Seconds since the container started.
    """
    case = CaseRecorder.with_container(executor)
    if case is not None:
        case.take(failure, [executor])
    elif folder is not None and executor.is_started:
        part = Part(executor, executor.config, folder, Begin())
        with contextlib.suppress(TimeoutError):
            bounded(lambda: take_evidence(part, failure, None, seconds), EVIDENCE_TIME)
