"""One stream of a command."""

from __future__ import annotations

import contextlib
from typing import IO

from lisa_container.capture.commands.journal import Journal
from lisa_container.capture.masking import Masking
from lisa_container.capture.records import OUTPUT_FOLDER, KeptStreamRecord

# A stream up to this size (bytes) is within the line of its command.
INLINE = 1 << 20
# What has been read of a longer one is masked in blocks at least this long (bytes)...
_BLOCK = 32 * 1024
# ... of which the last bytes stay for the next one: a secret may have begun in them.
_LONGEST_SECRET = 4 * 1024


class StreamCapture:
    """Keeps a stream: in memory while it is short, in a file from then on.

    Args:
        journal: whose command it is.
        name: of the file.
        limit: how many bytes are kept.
    """

    def __init__(self, journal: Journal, name: str, limit: int) -> None:
        self.size = 0
        self.masked_away = b""
        """What came, where it is within the record, but masked."""
        self._journal = journal
        self._name = name
        self._limit = limit
        self._held = bytearray()  # all of a short one; of a longer one what is not yet in the file
        self._taken = 0
        self._file: IO[bytes] | None = None
        self._is_masked = False
        self._has_failed = False

    @property
    def cut(self) -> int:
        """How many bytes were dropped."""
        return self.size - self._taken

    def add(self, data: bytes, masking: Masking) -> int:
        """Take the next piece; how many bytes of it are kept."""
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
        """It as it is in a record. No more comes."""
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
        """It while more may come, without its content."""
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
            # Where no secret lies across.
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
