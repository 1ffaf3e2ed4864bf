"""The folder that commands are recorded in."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import IO, Protocol

from lisa.util.logger import Logger

from lisa_container.capture.files import told
from lisa_container.capture.records import COMMANDS_FILE, OUTPUT_FOLDER

# So many commands are written together.
_MANY = 32


class Ended(Protocol):
    """A command that has ended."""

    started: float

    def line(self) -> bytes:
        """Its record; asked for once."""

    def move(self, journal: Journal) -> None:
        """Belong to another journal, if nothing was written yet."""


class Journal:
    """Takes the records of commands, and what of them is too long for a line.

    Nothing here fails a test: what cannot be written is told once.

    Args:
        folder: made with the first record.
        log: for what cannot be written.
    """

    def __init__(self, folder: Path, log: Logger) -> None:
        self.folder = folder
        self._log = log
        self._ended: deque[Ended] = deque()
        self._has_complained = False
        self._is_torn = False

    def write(self, lines: bytes) -> None:
        """Write lines, at once and whole, also if this process is killed the moment after.

        Args:
            lines: each with its end.
        """
        try:
            # It does not stay open: there may be a thousand containers.
            file = self._open()
            try:
                left = memoryview(b"\n" + lines if self._is_torn else lines)
                while left:
                    left = left[os.write(file, left) :]
            finally:
                os.close(file)
            self._is_torn = False
        except OSError as error:
            self._is_torn = True  # half a line may be there
            self.complain(error)

    def add(self, command: Ended) -> None:
        """A command has ended: it is written soon, or with `catch_up`.

        Args:
            command: its record.
        """
        self._ended.append(command)

    def hand_over(self, journal: Journal, since: float) -> None:
        """Commands that began lately belong to another journal, as far as they are not written.

        Args:
            journal: of what goes on since then.
            since: seconds since 1970.
        """
        for _ in range(len(self._ended)):
            try:
                command = self._ended.popleft()
            except IndexError:
                break  # another thread has written them
            if command.started >= since:
                command.move(journal)
                journal.add(command)
            else:
                self.add(command)

    def keep_up(self) -> None:
        """Write what has ended, if it is much by now."""
        if len(self._ended) >= _MANY:
            self.catch_up()

    def catch_up(self) -> None:
        """Write what has ended."""
        lines = []
        while self._ended:
            try:
                lines.append(self._ended.popleft().line())
            except IndexError:
                break  # another thread had the last one
            except Exception as error:  # of ours; it must not end what a test does
                self._log.warning(f"a command could not be recorded: {told(error)}")
        if lines:
            self.write(b"".join(lines))

    def output(self, name: str) -> IO[bytes]:
        """A new file of a command, to write to without a buffer.

        Args:
            name: of the file.

        Raises:
            OSError: it cannot be made.
        """
        folder = self.folder / OUTPUT_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / name).open("wb", buffering=0)

    def complain(self, error: OSError) -> None:
        """Tell that something could not be written, the first time."""
        if not self._has_complained:
            self._has_complained = True
            self._log.warning(
                f"what commands do cannot be recorded in '{self.folder}': {error}. The test goes "
                "on without that; make room, or choose another folder with 'lisa -l'."
            )

    def warn(self, message: str) -> None:
        """Tell something about a record."""
        self._log.warning(message)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        path = self.folder / COMMANDS_FILE
        try:
            return os.open(path, flags, 0o644)
        except FileNotFoundError:
            self.folder.mkdir(parents=True, exist_ok=True)
            return os.open(path, flags, 0o644)
