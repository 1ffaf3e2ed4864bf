"""LISA's reports of cases: how each ends, and what runs on guests.

A case of any suite can run on a guest (`type: container`), and nothing of ours is called for it.
But LISA reports each case to its notifiers when it begins and ends, and closes its nodes after it.
"""

from __future__ import annotations

import secrets
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path

from lisa import notifier
from lisa.messages import MessageBase, TestResultMessage, TestStatus

from lisa_container.capture.files import run_folder
from lisa_container.cases import FAILED, CaseRecorder
from lisa_container.engine.waiting import wait_for
from lisa_container.executor import ContainerExecutor
from lisa_container.listening import Listener

_ENDED = (*FAILED, TestStatus.PASSED, TestStatus.SKIPPED)

# How long (seconds) LISA's reports may take to arrive.
_PATIENCE = 2.0

_guests: weakref.WeakSet[ContainerExecutor] = weakref.WeakSet()
_running: set[str] = set()
_marks: dict[str, threading.Event] = {}


@dataclass
class MarkMessage(MessageBase):
    """A report of our own: when it arrives, all before it have."""

    type: str = "LisaContainerMark"
    key: str = ""


class CaseStatus(Listener):
    """LISA's reports of how cases begin and end."""

    def _subscribed_message_type(self) -> list[type[MessageBase]]:
        return [TestResultMessage, MarkMessage]

    def _received_message(self, message: MessageBase) -> None:
        if isinstance(message, MarkMessage):
            _marks.pop(message.key).set()
            return
        assert isinstance(message, TestResultMessage)
        if message.status == TestStatus.RUNNING:
            _running.add(message.id_)
            _begin_on_guests(message)
        elif message.status in _ENDED:
            _running.discard(message.id_)
            case = CaseRecorder.with_id(message.id_)
            if case is not None:
                case.tell(message.status, message.message)


def add_guest(executor: ContainerExecutor) -> None:
    """Tell of a container that cases find as their node.

    Args:
        executor: of the container.
    """
    _guests.add(executor)


def end_case_of_guest(executor: ContainerExecutor) -> None:
    """LISA closes a guest, as it does after each case: keep what its config asks for.

    Args:
        executor: of the container.
    """
    if run_folder() is None:
        return
    _await_reports()
    case = CaseRecorder.of_guest(executor)
    if case is not None and case.status:  # else the case itself has closed its node, and goes on
        case.take_within(case.failure, None)
        case.end()


def _await_reports() -> None:
    """Wait for what LISA has reported so far: it comes in another thread, in order."""
    key = secrets.token_hex(8)
    mark = _marks[key] = threading.Event()
    notifier.notify(MarkMessage(key=key))
    wait_for(mark, _PATIENCE)


def _begin_on_guests(message: TestResultMessage) -> None:
    run = run_folder()
    # With several cases at once nobody knows which guest is whose.
    if run is None or len(_running) > 1 or not message.log_file:
        return
    for executor in list(_guests):
        if executor.is_started:
            case = CaseRecorder.on_guest(
                message.id_,
                message.name,
                message.suite_name,
                run / Path(message.log_file).parent,
            )
            if not case.has_ended:
                # Of what it has done since, little is written yet.
                since = message.time.timestamp() if message.time else None
                case.add(executor, executor.config, since)
