"""Writer of the records of commands in a folder."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import IO, Protocol

from lisa.util.logger import Logger

from lisa_container.escaping import printable
from lisa_container.masking import Plain
from lisa_container.recording.files import append, describe_error, open_to_write
from lisa_container.recording.records import COMMANDS_FILE, OUTPUT_FOLDER
from lisa_container.recording.trouble import report_unwritten

# Number of commands that are written together.
_MANY = 32


class Ended(Protocol):
    """Command that has ended."""

    def line(self) -> bytes:
        """Return the record as a line; call it once."""


class Journal:
    """Writer of the records of commands, and of output that is too long for a line.

    An error of writing never fails a test; it is reported once.

    Args:
        folder: the folder, created with the first record.
        log: logger for errors of writing.
    """

    def __init__(self, folder: Path, log: Logger) -> None:
        """Begin without a record."""
        self.folder = folder
        self._log = log
        self._ended: deque[Ended] = deque()
        self._is_torn = False

    def write(self, lines: bytes) -> None:
        """Write lines at once; they survive a kill of this process.

        Args:
            lines: lines with their ends.
        """
        try:
            # The file does not stay open: a run may have a thousand containers.
            append(self.folder / COMMANDS_FILE, b"\n" + lines if self._is_torn else lines)
            self._is_torn = False
        except OSError as error:
            self._is_torn = True  # a part of a line may be written
            self.complain(error)

    def add(self, command: Ended) -> None:
        """Add a command that has ended; it is written soon, or by `catch_up`.

        Args:
            command: the command.
        """
        self._ended.append(command)

    def keep_up(self) -> None:
        """Write the commands that have ended, if there are many."""
        if len(self._ended) >= _MANY:
            self.catch_up()

    def catch_up(self) -> None:
        """Write the commands that have ended."""
        lines = []
        while self._ended:
            try:
                lines.append(self._ended.popleft().line())
            except IndexError:
                break  # another thread had the last one
            except Exception as error:  # a bug must not fail the test
                self._log.warning(
                    Plain(f"a command could not be recorded: {printable(describe_error(error))}")
                )
        if lines:
            self.write(b"".join(lines))

    def output(self, name: str) -> IO[bytes]:
        """Open a new, unbuffered file for output of a command.

        Args:
            name: name of the file.

        Raises:
            OSError: the file cannot be created.
        """
        folder = self.folder / OUTPUT_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        return os.fdopen(open_to_write(folder / name, os.O_TRUNC), "wb", buffering=0)

    def complain(self, error: OSError) -> None:
        """Report an error of writing.

        Args:
            error: error of the operating system.
        """
        report_unwritten(self._log, "commands and their output", self.folder, error)

    def warn(self, message: str) -> None:
        """Log a warning about a record.

        Args:
            message: text from outside, which is escaped.
        """
        self._log.warning(Plain(printable(message)))
