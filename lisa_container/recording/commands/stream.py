"""Recorder of one output stream of a command."""

from __future__ import annotations

import contextlib
from typing import IO

from lisa_container.masking import Masking
from lisa_container.recording.commands.journal import Journal
from lisa_container.recording.records import OUTPUT_FOLDER, KeptStreamRecord

# Maximum size in bytes of a stream within the line of its command.
INLINE = 1 << 20
# Minimum size in bytes of a block of a longer stream, which is masked at once.
_BLOCK = 32 * 1024
# Bytes at the end of a block that are kept for the next one: a secret may begin in them.
_LONGEST_SECRET = 4 * 1024


class StreamCapture:
    """Recorder of a stream: in memory while the stream is short, then in a file.

    Args:
        journal: journal of the command.
        name: name of the file.
        limit: maximum number of bytes that are kept.
    """

    def __init__(self, journal: Journal, name: str, limit: int) -> None:
        """Begin without output."""
        self.size = 0
        self.masked_away = b""
        """Output before masking, if the record has it masked within its line."""
        self._journal = journal
        self._name = name
        self._limit = limit
        self._held = (
            bytearray()
        )  # a short stream, or the part of a long one that is not yet in the file
        self._taken = 0
        self._file: IO[bytes] | None = None
        self._is_masked = False
        self._has_failed = False

    @property
    def cut(self) -> int:
        """Number of bytes that were dropped."""
        return self.size - self._taken

    def add(self, data: bytes, masking: Masking) -> int:
        """Add a piece; return how many bytes of it are kept.

        Args:
            data: the piece.
            masking: masking of the command.
        """
        self.size += len(data)
        if self._has_failed:
            return 0
        room = self._limit - self._taken
        if len(data) > room:
            data = data[:room]
        self._held += data
        self._taken += len(data)
        if self._file is None and self._taken > INLINE:
            self._spill()
        if self._file is not None and len(self._held) >= _BLOCK:
            self._write_block(masking)
        return len(data)

    def record(self, masking: Masking) -> KeptStreamRecord:
        """Return the record of the whole stream; call it once, after the last piece.

        Args:
            masking: masking of the command.
        """
        record: KeptStreamRecord = {"bytes": self.size, "cut": self.cut}
        if not self.size:
            return record
        if self._file is None and not self._has_failed:
            try:
                text = self._held.decode()
                record["text"] = masking.text(text)
                if record["text"] != text:
                    self.masked_away = bytes(self._held)
                return record
            except UnicodeDecodeError:
                self._spill()
        if self._file is not None:
            self._write(masking.data(bytes(self._held)), bytes(self._held))
            with contextlib.suppress(OSError):
                self._file.close()
            record["file"] = f"{OUTPUT_FOLDER}/{self._name}"
            if self._is_masked:
                record["masked"] = True
        record["cut"] = self.cut
        return record

    def so_far(self) -> KeptStreamRecord:
        """Return the record of a stream that goes on, without content."""
        return {"bytes": self.size, "cut": self.cut}

    def _spill(self) -> None:
        try:
            self._file = self._journal.output(self._name)
        except OSError as error:
            self._fail(error)

    def _write_block(self, masking: Masking) -> None:
        data = bytes(self._held)
        end = len(data) - _LONGEST_SECRET
        masked, begin = masking.data(data), data[:end]
        if masked != data:
            # Move the end of the block to a place that no secret crosses.
            while end > 0 and masking.data(data[:end]) + masking.data(data[end:]) != masked:
                end -= _LONGEST_SECRET
            end = end if end > 0 else len(data)
            begin = masking.data(data[:end])
        self._write(begin, data[:end])
        del self._held[:end]

    def _write(self, masked: bytes, data: bytes) -> None:
        self._is_masked = self._is_masked or masked != data
        left = memoryview(masked)
        try:
            while left and self._file is not None:
                left = left[self._file.write(left) :]
        except OSError as error:
            self._taken -= len(data)
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self._has_failed = True
        if self._file is None:
            self._taken = 0
        self._held.clear()
        self._journal.complain(error)
