"""Cases of a run that are still to come.

LISA gives a suite one case at a time and tells it of no other. But LISA reports each case of a run,
and each change of a case, to its notifiers; this module listens to them.
"""

from __future__ import annotations

import threading

from lisa.messages import MessageBase, TestResultMessage, TestStatus

from lisa_container.notifiers.listener import Listener

_TO_COME = {TestStatus.QUEUED, TestStatus.ASSIGNED}

_Name = tuple[str, str]

_waiting: dict[str, _Name] = {}
# Cases that began before LISA's report of it arrived, which comes in another thread.
_ahead: set[str] = set()
_running: set[str] = set()
_lock = threading.Lock()


def begins(case_id: str) -> None:
    """Note that a case has begun.

    Args:
        case_id: `TestResult.id_`.
    """
    with _lock:
        _waiting.pop(case_id, None)
        if case_id not in _running:
            _ahead.add(case_id)


def cases_of(suite: str) -> list[str]:
    """Return the names of a suite's cases that have not begun; a repeated case comes as often.

    Args:
        suite: Name of the suite in LISA (`TestSuiteMetadata.name`).
    """
    with _lock:
        return [name for owner, name in _waiting.values() if owner == suite]


class Upcoming(Listener):
    """Listener to LISA's reports of cases."""

    def _subscribed_message_type(self) -> list[type[MessageBase]]:
        return [TestResultMessage]

    def _handle_message(self, message: MessageBase) -> None:
        assert isinstance(message, TestResultMessage)
        case_id, status = message.id_, message.status
        with _lock:
            if case_id in _ahead and status in _TO_COME:
                return  # a report from before the case began
            _ahead.discard(case_id)
            _waiting.pop(case_id, None)
            _running.discard(case_id)
            if status in _TO_COME:
                _waiting[case_id] = (message.suite_name, message.name)
            elif status == TestStatus.RUNNING:
                _running.add(case_id)
