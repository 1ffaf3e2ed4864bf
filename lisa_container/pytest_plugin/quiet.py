"""LISA in a pytest process, whose output and logging pytest captures."""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
from collections.abc import Iterator

_LISA = "lisa"


def import_lisa() -> None:
    """Import LISA, which takes over standard output and Python's logging; give both back.

    Nothing of LISA's log is printed from now on; see `warnings_to_pytest`.
    """
    handlers, streams = logging.root.handlers, (sys.stdout, sys.stderr)
    is_new = _LISA not in sys.modules
    logger = importlib.import_module("lisa.util.logger")
    if is_new:
        logging.root.handlers = handlers
        sys.stdout, sys.stderr = streams
    elif isinstance(sys.stdout, logger.LogWriter):  # a file with tests has imported LISA
        logger.uninit_logger()
    logger.set_console_level(logging.CRITICAL)


@contextlib.contextmanager
def warnings_to_pytest() -> Iterator[None]:
    """Pass the warnings in LISA's log on to pytest in this block."""
    log, handler = logging.getLogger(_LISA), _ToPytest()
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


class _ToPytest(logging.Handler):
    """Handler that passes lines on to Python's root logger, whose lines pytest captures."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a line on, unless the root logger's level (pytest's `log_level`) is higher."""
        if logging.root.isEnabledFor(record.levelno):
            logging.root.handle(record)
