"""Protection of a run from a full disk: log files and notifiers drop text instead of failing.

LISA ends a run when a case's log cannot be closed or a notifier cannot write. This module makes the
log handlers and notifiers of the run tolerant, object by object, and leaves LISA's classes alone.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lisa import notifier
from lisa.messages import MessageBase, TestRunMessage
from lisa.util.logger import DEFAULT_LOG_NAME

from lisa_container.notifiers.listener import Listener
from lisa_container.recording.trouble import report_unwritten

Report = Callable[[Path, OSError], None]

_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: OSError) -> bool:
    """Return whether an error means that the disk or the user's quota is full."""
    return error.errno in _FULL


class DiskListener(Listener):
    """Listener that makes the log files and notifiers of a run tolerant of a full disk."""

    _is_on = False

    def _subscribed_message_type(self) -> list[type[MessageBase]]:
        return [TestRunMessage]

    def _handle_message(self, message: MessageBase) -> None:
        if not self._is_on:
            self._is_on = True
            self._guard = LogGuard(self._report)
            logging.getLogger(DEFAULT_LOG_NAME).addHandler(self._guard)
            self._guard.protect(DEFAULT_LOG_NAME)
        for each in notifier._notifiers:
            if not isinstance(each, Listener):
                self._protect(each)

    def _end(self) -> None:
        if self._is_on:
            self._guard.end()

    def _report(self, folder: Path, error: OSError) -> None:
        report_unwritten(self._log, "LISA's log", folder, error)

    def _protect(self, other: notifier.Notifier) -> None:
        """Make a notifier skip what it cannot write, and go on when there is room again."""
        if not hasattr(other._received_message, "__wrapped__"):
            receive = self._tolerate_full_disk(other, other._received_message)
            other._received_message = receive  # type: ignore[method-assign]
            other.finalize = self._tolerate_full_disk(other, other.finalize)  # type: ignore[method-assign]
            for name, file in vars(other).items():
                if isinstance(file, io.BufferedWriter):
                    setattr(other, name, _ReportFile(file))

    def _tolerate_full_disk(
        self, other: notifier.Notifier, write: Callable[..., None]
    ) -> Callable[..., None]:
        """Wrap a notifier's method: it reports an error of a full disk instead of raising it."""

        @functools.wraps(write)
        def tolerant(**arguments: Any) -> None:
            try:
                write(**arguments)
            except OSError as error:
                if not is_full(error):
                    raise
                name = f"what notifier '{other.type_name()}' reports"
                folder = Path(error.filename).parent if error.filename else Path("the log folder")
                report_unwritten(self._log, name, folder, error)

        return tolerant


class LogGuard(logging.NullHandler):
    """Log handler that makes other handlers' log files tolerant of a full disk.

    LISA opens a log file for each case. The first record of the case reaches this handler right
    after that file.

    Args:
        report: called with folder and error when a log file cannot be written for the first time.
    """

    def __init__(self, report: Report) -> None:
        """Remember how `logging` is set."""
        super().__init__()
        self._report = report
        self._raises = logging.raiseExceptions

    def handle(self, record: logging.LogRecord) -> bool:
        """Protect the log files that a record went to.

        Args:
            record: the record.
        """
        self.protect(record.name)
        return True

    def protect(self, name: str) -> None:
        """Protect the log files of a logger and of its parents.

        Args:
            name: name of the logger.
        """
        logger: logging.Logger | None = logging.getLogger(name)
        while logger is not None:
            for each in logger.handlers:
                # A subclass may need methods that `_LogFile` lacks.
                if type(each) is logging.FileHandler and not isinstance(each.stream, _LogFile):
                    self._replace_stream(each)
            logger = logger.parent

    def is_out_of_room(self, path: Path, error: OSError, is_first: bool) -> None:
        """Note that a log file cannot be written.

        `logging` would report each lost record on the console. That is off from now on: a full disk
        has room for a moment whenever a file is written anew.

        Args:
            path: path of the log file.
            error: the error of the operating system.
            is_first: whether the file could always be written before.
        """
        logging.raiseExceptions = False
        if is_first:
            self._report(path.parent, error)

    def end(self) -> None:
        """Set `logging` as it was before the run."""
        logging.raiseExceptions = self._raises

    def _replace_stream(self, handler: logging.FileHandler) -> None:
        handler.acquire()
        try:
            old: Any = handler.stream
            if old is None or isinstance(old, _LogFile):  # closed, or another thread was here
                return
            new = _LogFile(Path(handler.baseFilename), os.dup(old.fileno()), self)
            handler.stream = new  # type: ignore[assignment]
            with contextlib.suppress(OSError):  # text that found no room
                old.close()
        finally:
            handler.release()


class _LogFile:
    """Unbuffered stream of a log file that drops a record for which the disk has no room."""

    def __init__(self, path: Path, number: int, guard: LogGuard) -> None:
        """Take over a file descriptor, which `close` closes."""
        self._path = path
        self._number = number
        self._guard = guard
        self._is_torn = False
        self._has_failed = False

    def write(self, text: str) -> int:
        """Write a record, or the part of it that the disk has room for."""
        data = text.encode("utf-8", errors="backslashreplace")
        left = memoryview(b"\n" + data if self._is_torn else data)
        try:
            while left:
                left = left[os.write(self._number, left) :]
        except OSError as error:
            if not is_full(error):
                raise
            self._is_torn = True
            is_first, self._has_failed = not self._has_failed, True
            self._guard.is_out_of_room(self._path, error, is_first)
        else:
            self._is_torn = False
        return len(text)

    def flush(self) -> None:
        """Do nothing: the stream has no buffer."""

    def close(self) -> None:
        """Close the file; ignore an error of a full disk."""
        number, self._number = self._number, -1
        if number >= 0:
            try:
                os.close(number)
            except OSError as error:
                if not is_full(error):
                    raise


class _ReportFile:
    """Binary file of a notifier that stays open when an XML writer fails.

    An `ElementTree` that meets a full disk closes a `BufferedIOBase` or `RawIOBase` that it writes
    to, at some later time. LISA's JUnit notifier needs its file until the end of the run.
    """

    def __init__(self, file: io.BufferedWriter) -> None:
        """Take over the descriptor of a file."""
        self._file = io.FileIO(os.dup(file.fileno()), "wb")
        file.close()

    def write(self, data: bytes) -> int:
        """Write all bytes."""
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
