"""Text that LISA's notifiers, such as JUnit and HTML, can write: without secrets, all printable.

LISA masks secrets only in its log. The notifiers get the message and the traceback of a failed case
unmasked, and an assertion's message may contain the value of a variable. It may also contain bytes
that are not UTF-8, and control characters: XML has none, so the whole report would be lost.
"""

from __future__ import annotations

from lisa.messages import MessageBase, TestResultMessageBase, TestRunMessage

from lisa_container.escaping import reportable
from lisa_container.masking import KNOWN
from lisa_container.notifiers.listener import Listener


class MaskedMessages(Listener):
    """Listener that masks and escapes the reports of cases before any notifier gets them."""

    def _subscribed_message_type(self) -> list[type[MessageBase]]:
        # LISA lets the subscribers of a message's own class modify it before it passes it on.
        return [*_kinds(TestResultMessageBase), TestRunMessage]

    def _modify_message(self, message: MessageBase) -> None:
        if isinstance(message, (TestResultMessageBase, TestRunMessage)):
            message.message = _clean(message.message)
        if isinstance(message, TestResultMessageBase):
            message.name = _clean(message.name)
            message.stacktrace = _clean(message.stacktrace) if message.stacktrace else None
            # Not in place: the result of the case has the same dictionary.
            message.information = {
                key: _clean(value) if isinstance(value, str) else value
                for key, value in message.information.items()
            }

    def _received_message(self, message: MessageBase) -> None:
        """Do nothing: `_modify_message` has changed the message."""


def _clean(text: str) -> str:
    return reportable(KNOWN.text(text))


def _kinds(kind: type[MessageBase]) -> list[type[MessageBase]]:
    """Return a class of messages and all its subclasses."""
    return [kind, *(each for child in kind.__subclasses__() for each in _kinds(child))]
