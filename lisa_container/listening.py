"""Listening to what LISA tells of a run, without an entry in the runbook."""

from __future__ import annotations

import logging

from lisa import notifier, schema
from lisa.util.logger import get_logger


def listen(kind: type[notifier.Notifier]) -> None:
    """Have LISA tell a notifier of all that comes from now on.

    Args:
        kind: of the notifier. One that is made when suites are imported misses nothing: LISA makes
            the list of a run's cases later.
    """
    log = get_logger("init", "notifier")
    log.setLevel(logging.INFO)  # it would tell whoever imports this package
    try:
        notifier.register_notifier(kind(schema.Notifier(type=kind.type_name())))
    finally:
        log.setLevel(logging.NOTSET)
