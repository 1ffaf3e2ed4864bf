"""The folder that commands are recorded in."""

from __future__ import annotations

import contextlib
import os
import threading
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

    def line(self) -> bytes:
        """Its record; asked for once."""


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
        self._lock = threading.Lock()
        self._file = -1
        self._ended: deque[Ended] = deque()
        self._has_complained = False

    def write(self, lines: bytes) -> None:
        """Write lines, at once and whole, also if this process is killed the moment after.

        Args:
            lines: each with its end.
        """
        try:
            with self._lock:
                if self._file < 0:
                    self._file = self._open()
                os.write(self._file, lines)
        except OSError as error:
            self.complain(error)

    def add(self, command: Ended) -> None:
        """A command has ended: it is written soon, or with `catch_up`.

        Args:
            command: its record.
        """
        self._ended.append(command)

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

    def rest(self) -> None:
        """Nothing is to be written for now."""
        self.catch_up()
        with self._lock:
            self._close()

    def __del__(self) -> None:
        self._close()

    def _open(self) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(self.folder / COMMANDS_FILE, flags, 0o644)

    def _close(self) -> None:
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = -1
