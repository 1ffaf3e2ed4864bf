"""LISA's reports of cases: how each ends, and which cases run on guests.

A case of any suite can run on a guest (`type: container`), and LISA calls none of our code for it.
But LISA reports the begin and the end of each case to its notifiers, and closes its nodes after it.
"""

from __future__ import annotations

import re
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path

from lisa import notifier
from lisa.messages import MessageBase, TestResultMessage, TestStatus

from lisa_container.cases.keep import keep_if_asked
from lisa_container.cases.recorder import FAILED, CaseRecorder
from lisa_container.container.kills import wait_for_kills
from lisa_container.engine.waiting import wait_for
from lisa_container.executor import ContainerExecutor
from lisa_container.forks import Belongings
from lisa_container.notifiers.listener import Listener
from lisa_container.recording.files import run_folder

_ENDED = (*FAILED, TestStatus.PASSED, TestStatus.SKIPPED)

# LISA's message of a case that has exceeded its time limit.
_TIME_UP = re.compile(r"time out in \d+ seconds\.")

# Time limit for LISA's reports to arrive, in seconds.
_PATIENCE = 2.0

guests: Belongings[ContainerExecutor] = Belongings()
"""Containers that LISA gives to cases as their nodes."""

_running: set[str] = set()
_marks: dict[str, threading.Event] = {}


@dataclass
class MarkMessage(MessageBase):
    """Message of our own. When it arrives, all messages before it have arrived."""

    type: str = "LisaContainerMark"
    key: str = ""


class CaseStatus(Listener):
    """Listener to LISA's reports of how cases begin and end."""

    def _subscribed_message_type(self) -> list[type[MessageBase]]:
        return [TestResultMessage, MarkMessage]

    def _modify_message(self, message: MessageBase) -> None:
        """Have LISA's message of a case whose time was up say where its commands are recorded."""
        with self._tolerant("name the records of a case whose time was up"):
            if not isinstance(message, TestResultMessage) or message.status not in FAILED:
                return
            case = CaseRecorder.with_id(message.id_)
            if case is not None and case.containers and _TIME_UP.search(message.message):
                message.message += f" {case.describe_commands()}"

    def _handle_message(self, message: MessageBase) -> None:
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
                case.set_result(message.status, message.message)


def end_reported_cases() -> None:
    """Take the evidence of the cases that have ended by LISA's reports, and end their records.

    Call it where LISA closes a node, as LISA does after each case. A case of a suite of ours, or a
    decorated one, ends by itself.
    """
    # The record of a case on a guest begins by a report, which may still be on its way.
    if run_folder() is None or not (list(guests) or CaseRecorder.unended()):
        return
    wait_for_kills()
    _await_reports()
    for case in CaseRecorder.unended():
        if not case.status:  # the case closed its node by itself, and goes on
            continue
        if case.failure is not None:
            for executor in case.containers:
                if executor.is_started:
                    keep_if_asked(executor)
        case.take(case.failure)
        case.end()


def await_begin() -> None:
    """Wait for LISA's report of the case that begins, if it is on its way.

    Call it before a command in a guest's container that no case has yet.
    """
    if run_folder() is not None and len(_running) <= 1:
        _await_reports()


def _await_reports() -> None:
    """Wait for LISA's reports so far, which arrive in order in another thread."""
    key = secrets.token_hex(8)
    mark = _marks[key] = threading.Event()
    notifier.notify(MarkMessage(key=key))
    wait_for(mark, _PATIENCE)


def _begin_on_guests(message: TestResultMessage) -> None:
    """Record with the case what happens in the guests from its begin on."""
    run = run_folder()
    # LISA does not report the node of a case: with several cases at once it is unknown.
    if run is None or len(_running) > 1 or not message.log_file:
        return
    for executor in guests:
        if executor.is_started:
            case = CaseRecorder.with_id(message.id_)
            if case is None:
                folder = run / Path(message.log_file).parent
                suite = message.suite_name
                case = CaseRecorder.reported(message.id_, message.name, suite, folder)
            if not case.has_ended:
                case.add(executor, executor.config)
