"""Which cases of a run are still to come.

LISA gives a suite one case at a time and tells of no other. But it reports each case of a run, and
each change of it, to its notifiers; so one listens here.
"""

from __future__ import annotations

import threading

from lisa.messages import MessageBase, TestResultMessage, TestStatus

from lisa_container.listening import Listener

_TO_COME = {TestStatus.QUEUED, TestStatus.ASSIGNED}

_Name = tuple[str, str]

_waiting: dict[str, _Name] = {}
# Cases that began before LISA's report of it arrived here: it comes in another thread.
_ahead: set[str] = set()
_running: set[str] = set()
_lock = threading.Lock()


def begins(case_id: str) -> None:
    """Tell that a case has begun; it is not to come any more.

    Args:
        case_id: `TestResult.id_`.
    """
    with _lock:
        _waiting.pop(case_id, None)
        if case_id not in _running:
            _ahead.add(case_id)


def cases_of(suite: str) -> list[str]:
    """The names of a suite's cases that have not begun yet; one that is repeated comes as often.

    Args:
        suite: its name in LISA (`TestSuiteMetadata.name`).
    """
    with _lock:
        return [name for owner, name in _waiting.values() if owner == suite]


class Upcoming(Listener):
    """LISA's reports of cases."""

    def _subscribed_message_type(self) -> list[type[MessageBase]]:
        return [TestResultMessage]

    def _received_message(self, message: MessageBase) -> None:
        assert isinstance(message, TestResultMessage)
        case_id, status = message.id_, message.status
        with _lock:
            if case_id in _ahead and status in _TO_COME:
                return  # of before it began
            _ahead.discard(case_id)
            _waiting.pop(case_id, None)
            _running.discard(case_id)
            if status in _TO_COME:
                _waiting[case_id] = (message.suite_name, message.name)
            elif status == TestStatus.RUNNING:
                _running.add(case_id)
