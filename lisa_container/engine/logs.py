"""Suppression of log lines of the libraries below."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def hide_log_lines(logger: str, text: str) -> Iterator[None]:
    """Drop the lines of a logger that contain a text, for the time of a `with` block."""

    def is_other(record: logging.LogRecord) -> bool:
        return text not in record.getMessage()

    target = logging.getLogger(logger)
    target.addFilter(is_other)
    try:
        yield
    finally:
        target.removeFilter(is_other)
