"""Listening to what LISA tells of a run, without an entry in the runbook."""

from __future__ import annotations

import logging

from lisa import notifier, schema
from lisa.util.logger import get_logger


class Listener(notifier.Notifier):
    """A notifier of LISA's that no runbook names."""

    @classmethod
    def type_name(cls) -> str:
        return f"lisa_container.{cls.__name__}"

    @classmethod
    def type_schema(cls) -> type[schema.TypedSchema]:
        return schema.Notifier


def listen(kind: type[Listener]) -> None:
    """Have LISA tell a listener of all that comes from now on.

    Args:
        kind: of it. One that is made when suites are imported misses nothing: LISA makes the list
            of a run's cases later.
    """
    log = get_logger("init", "notifier")
    log.setLevel(logging.INFO)  # it would tell whoever imports this package
    try:
        notifier.register_notifier(kind(schema.Notifier(type=kind.type_name())))
    finally:
        log.setLevel(logging.NOTSET)
