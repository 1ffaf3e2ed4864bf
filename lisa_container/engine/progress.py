"""Progress of a long transfer: a live line on a terminal, or else a line in the log now and then.

with Progress("pulling image 'debian:12'", node.log) as progress:
    progress.update(done=12_000_000, total=50_000_000)
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from typing import Any, TextIO

from lisa_container.masking import Plain

# Seconds until the first line on a terminal, and between two lines in a log. A quick transfer shows
# nothing.
_FIRST = 0.5
_PERIOD = 10.0
# Seconds between two updates of the line on a terminal.
_REDRAW = 0.1

NOTICE: dict[str, object] = {"is_lisa_container_notice": True}
"""Attribute of log records about long jobs, which `lisa-container` shows on standard error."""

_MIB = 1024 * 1024
# Characters of the bar; columns of a terminal of unknown size.
_BAR = 20
_COLUMNS = 80
_CLEAR = "\r\x1b[2K"


class Progress:
    """Progress of one transfer, a context manager. Several may run at the same time.

    Args:
        what: first words of each line, such as "pulling image 'debian:12' on node 'a'".
        log: log of the node, used where stderr is no terminal.
        period: seconds between two lines in the log.
    """

    def __init__(self, what: str, log: logging.Logger, period: float = _PERIOD) -> None:
        """Begin to measure the time."""
        self._what = what
        self._log = log
        self._period = period
        self._live = LiveText.of_stderr()
        self._started = self._logged = time.monotonic()

    def __enter__(self) -> Progress:
        """Return the progress itself."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Remove the live line."""
        if self._live is not None:
            self._live.remove()

    def update(self, done: int, total: int) -> None:
        """Show the present state.

        Args:
            done: bytes that were transferred.
            total: bytes of the whole transfer, as far as known; 0 for unknown.
        """
        now = time.monotonic()
        if self._live is not None:
            if now - self._started >= _FIRST:
                # The amount first: a narrow terminal cuts the end off.
                text = f"{_bar(done, total)}{self._amount(done, total, now)} {self._what}"
                self._live.show(text)
        elif now - self._logged >= self._period:
            self._logged = now
            self._log.info(Plain(f"{self._what}: {self._amount(done, total, now)}"), extra=NOTICE)

    def _amount(self, done: int, total: int, now: float) -> str:
        rate = f"{done / _MIB / max(now - self._started, 0.001):.1f} MiB/s"
        if not total:
            return f"{done / _MIB:.1f} MiB ({rate})"
        return f"{done * 100 // total}% ({done / _MIB:.1f} of {total / _MIB:.1f} MiB, {rate})"


def _bar(done: int, total: int) -> str:
    if not total:
        return ""
    filled = done * _BAR // total
    return f"[{'#' * filled}{'.' * (_BAR - filled)}] "


class LiveText:
    """Text of one job in the last line of a terminal."""

    def __init__(self, terminal: _Terminal) -> None:
        """Show nothing yet."""
        self._terminal = terminal

    @classmethod
    def of_stderr(cls) -> LiveText | None:
        """Return a new text for standard error, or None if that is no terminal."""
        terminal = _Terminal.of(sys.__stderr__)
        return None if terminal is None else cls(terminal)

    def show(self, text: str) -> None:
        """Show the text, which replaces the one before."""
        self._terminal.show(self, text)

    def remove(self) -> None:
        """Remove the text from the line."""
        self._terminal.remove(self)


class _Terminal:
    """Last line of a terminal, which shows all jobs that are under way."""

    _all: dict[TextIO, _Terminal] = {}  # noqa: RUF012

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._texts: dict[LiveText, str] = {}
        self._lock = threading.Lock()
        self._is_drawn = False
        self._drawn_at = 0.0
        self._handler = _LineCleaner(self)

    @classmethod
    def of(cls, stream: Any) -> _Terminal | None:
        """Return the object of a stream, or None if the stream is no terminal."""
        try:
            if stream is None or not stream.isatty():
                return None
        except ValueError:  # closed
            return None
        return cls._all.setdefault(stream, cls(stream))

    def show(self, live: LiveText, text: str) -> None:
        """Show a job's text in the line."""
        with self._lock:
            if not self._texts:
                # Run before the handler that writes to the terminal: it would append to this line.
                logging.getLogger("lisa").handlers.insert(0, self._handler)
            self._texts[live] = text
            now = time.monotonic()
            if now - self._drawn_at >= _REDRAW:
                self._drawn_at = now
                line = " | ".join(self._texts.values())
                self._write(_CLEAR + line[: self._columns() - 1])
                self._is_drawn = True

    def remove(self, live: LiveText) -> None:
        """Remove the text of a job that has ended."""
        with self._lock:
            if self._texts.pop(live, None) is None:
                return
            if not self._texts:
                logging.getLogger("lisa").removeHandler(self._handler)
            self._clear()

    def clear(self) -> None:
        """Clear the line for another writer."""
        with self._lock:
            self._clear()

    def _clear(self) -> None:
        if self._is_drawn:
            self._write(_CLEAR)
            self._is_drawn = False

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or _COLUMNS
        except (OSError, ValueError):
            return _COLUMNS

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # the terminal is gone
            pass


class _LineCleaner(logging.Handler):
    """Handler that clears the line before a record is logged; the next update draws it again."""

    def __init__(self, terminal: _Terminal) -> None:
        super().__init__()
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        """Clear the line."""
        self._terminal.clear()
