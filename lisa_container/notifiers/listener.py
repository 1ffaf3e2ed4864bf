"""Base of the notifiers that listen to a run without an entry in the runbook."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from lisa import notifier, schema
from lisa.messages import MessageBase
from lisa.util.logger import get_logger

from lisa_container.escaping import printable
from lisa_container.masking import Plain

_listening: set[type[Listener]] = set()


class Listener(notifier.Notifier):
    """LISA notifier that needs no entry in a runbook and never fails a run.

    An exception in a notifier ends LISA's run without a summary; here it is logged.
    """

    def __init__(self, runbook: schema.TypedSchema) -> None:
        """Begin without a logged problem."""
        super().__init__(runbook)
        self._logged: set[str] = set()

    def _handle_message(self, message: MessageBase) -> None:
        """Handle a message of a type in `_subscribed_message_type`."""
        raise NotImplementedError

    def _end(self) -> None:
        """Handle the end of the run."""

    def _received_message(self, message: MessageBase) -> None:
        with self._tolerant("follow LISA's reports of the run"):
            self._handle_message(message)

    def finalize(self) -> None:
        """Handle the end of the run; LISA calls this."""
        with self._tolerant("follow the end of the run"):
            self._end()

    @contextlib.contextmanager
    def _tolerant(self, what: str) -> Iterator[None]:
        """Log an exception in the block, once for each job.

        Args:
            what: Job of the block, as in "cannot …".
        """
        try:
            yield
        except Exception as error:
            if what not in self._logged:
                self._logged.add(what)
                reason = f"{type(error).__name__}: {printable(error)}"
                self._log.warning(Plain(f"cannot {what}: {reason}. The run continues without that"))

    @classmethod
    def type_name(cls) -> str:
        """Return the name by which LISA knows the notifier."""
        return f"lisa_container.{cls.__name__}"

    @classmethod
    def type_schema(cls) -> type[schema.TypedSchema]:
        """Return LISA's schema of a notifier."""
        return schema.Notifier


def listen(kind: type[Listener]) -> None:
    """Register a listener for all that LISA reports from now on; do so once for each class.

    Args:
        kind: Class of the listener. LISA makes the list of a run's cases after it has imported the
            suites, so a listener that is registered by an import misses nothing.
    """
    if kind in _listening:
        return
    _listening.add(kind)
    log = get_logger("init", "notifier")
    log.setLevel(logging.INFO)  # no log line at each import of this package
    try:
        notifier.register_notifier(kind(schema.Notifier(type=kind.type_name())))
    finally:
        log.setLevel(logging.NOTSET)
