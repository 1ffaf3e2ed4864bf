"""How far a long transfer is: a live line on a terminal, else a line in the log now and then.

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

# Seconds until the first line on a terminal; and between two in a log. What is quick shows nothing.
_FIRST = 0.5
_PERIOD = 10.0
# Seconds between two changes of the line on a terminal.
_REDRAW = 0.1

_MIB = 1024 * 1024
# Characters of the bar; columns of a terminal that does not tell.
_BAR = 20
_COLUMNS = 80
_CLEAR = "\r\x1b[2K"


class Progress:
    """Tells how far one transfer is. Safe to use beside others.

    Args:
        what: begins each line, such as "pulling image 'debian:12' on node 'a'".
        log: of the node; used where there is no terminal.
        period: seconds between two lines in the log.
    """

    def __init__(self, what: str, log: logging.Logger, period: float = _PERIOD) -> None:
        self._what = what
        self._log = log
        self._period = period
        self._terminal = _Terminal.of(sys.__stderr__)
        self._started = self._told = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._terminal is not None:
            self._terminal.remove(self)

    def update(self, done: int, total: int) -> None:
        """Tell of a change.

        Args:
            done: bytes.
            total: bytes, as far as known; 0 where it is not.
        """
        now = time.monotonic()
        if self._terminal is not None:
            if now - self._started >= _FIRST:
                # What changes first: a terminal may be narrow.
                text = f"{_bar(done, total)}{self._amount(done, total, now)} {self._what}"
                self._terminal.show(self, text)
        elif now - self._told >= self._period:
            self._told = now
            self._log.info(f"{self._what}: {self._amount(done, total, now)}")

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


class _Terminal:
    """The last line of a terminal, on which all transfers that are under way are told of.

    Args:
        stream: of the terminal.
    """

    _all: dict[TextIO, _Terminal] = {}  # noqa: RUF012

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._texts: dict[Progress, str] = {}
        self._lock = threading.Lock()
        self._is_drawn = False
        self._drawn_at = 0.0
        self._handler = _LineCleaner(self)

    @classmethod
    def of(cls, stream: Any) -> _Terminal | None:
        """The one of a stream; None where that is no terminal."""
        try:
            if stream is None or not stream.isatty():
                return None
        except ValueError:  # closed
            return None
        return cls._all.setdefault(stream, cls(stream))

    def show(self, progress: Progress, text: str) -> None:
        """Have a transfer's text in the line."""
        with self._lock:
            if not self._texts:
                # Before the handler that writes to the terminal, which would go on in our line.
                logging.getLogger("lisa").handlers.insert(0, self._handler)
            self._texts[progress] = text
            now = time.monotonic()
            if now - self._drawn_at >= _REDRAW:
                self._drawn_at = now
                line = " | ".join(self._texts.values())
                self._write(_CLEAR + line[: self._columns() - 1])
                self._is_drawn = True

    def remove(self, progress: Progress) -> None:
        """A transfer has ended."""
        with self._lock:
            if self._texts.pop(progress, None) is None:
                return
            if not self._texts:
                logging.getLogger("lisa").removeHandler(self._handler)
            self._clear()

    def clear(self) -> None:
        """Make place for another line."""
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
        except (OSError, ValueError):  # it is gone; nothing depends on it
            pass


class _LineCleaner(logging.Handler):
    """Takes the line away before something is logged; the next change draws it again."""

    def __init__(self, terminal: _Terminal) -> None:
        super().__init__()
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        self._terminal.clear()
