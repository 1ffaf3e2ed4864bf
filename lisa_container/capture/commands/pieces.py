"""The order in which stdout and stderr of a command came."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import IO

from lisa_container.capture.commands.journal import Journal
from lisa_container.capture.files import json_line
from lisa_container.capture.records import OUTPUT_FOLDER, Piece

# As many are within the line of the command.
_INLINE = 200
# Pieces of one stream that come within this time (seconds) are one.
_TOGETHER = 0.005


class Pieces:
    """Notes each piece of a command's output.

    Args:
        journal: whose command it is.
        name: of the file, for many of them.
    """

    def __init__(self, journal: Journal, name: str) -> None:
        self._journal = journal
        self._name = name
        self._waiting: list[list[float]] = []
        self._file: IO[bytes] | None = None
        self._has_failed = False

    def add(self, seconds: float, stream: int, size: int) -> None:
        """Note a piece.

        Args:
            seconds: since the command's start.
            stream: 1 or 2.
            size: in bytes.
        """
        if self._waiting:
            last = self._waiting[-1]
            if last[1] == stream and seconds - last[0] < _TOGETHER:
                last[2] += size
                return
        self._waiting.append([round(seconds, 6), stream, size])
        if len(self._waiting) > _INLINE:
            self._spill(_INLINE)

    def record(self, fit: Callable[[list[Piece]], list[Piece]]) -> str | list[Piece]:
        """Them as they are in a record.

        Args:
            fit: makes them fit the text, where they are within the line.
        """
        if self._file is None:
            return fit([(x[0], int(x[1]), int(x[2])) for x in self._waiting])
        self._spill(len(self._waiting))
        with contextlib.suppress(OSError):
            self._file.close()
        return f"{OUTPUT_FOLDER}/{self._name}"

    def _spill(self, count: int) -> None:
        done, self._waiting = self._waiting[:count], self._waiting[count:]
        try:
            if self._file is None and not self._has_failed:
                self._file = self._journal.output(self._name)
            if self._file is not None:
                self._file.write(b"".join(map(json_line, done)))
        except OSError as error:
            self._has_failed = True
            self._journal.complain(error)


def fit_to_masked(
    pieces: list[Piece], raw: dict[int, bytes], mask: Callable[[bytes], bytes]
) -> list[Piece]:
    """The pieces with their sizes as they are in the masked text.

    Args:
        pieces: with their sizes as they came.
        raw: stream to what came in it; those where nothing was masked are left out.
        mask: masks a part of it.
    """
    whole = {stream: len(mask(data)) for stream, data in raw.items()}
    # For each stream: bytes that came, where the present line began, the same masked, and what
    # previous pieces took.
    came, begin = dict.fromkeys(raw, 0), dict.fromkeys(raw, 0)
    masked_begin, taken = dict.fromkeys(raw, 0), dict.fromkeys(raw, 0)
    fitted: list[Piece] = []
    last = {stream: index for index, (_, stream, _) in enumerate(pieces)}
    for index, (seconds, stream, size) in enumerate(pieces):
        data = raw.get(stream)
        if data is None:
            fitted.append((seconds, stream, size))
            continue
        came[stream] += size
        line = data.rfind(b"\n", begin[stream], came[stream]) + 1
        if line > begin[stream]:
            masked_begin[stream] += len(mask(data[begin[stream] : line]))
            begin[stream] = line
        # A secret that has only begun is no secret yet, and may be longer than its mask.
        until = data.find(b"\n", came[stream])
        whole_line = data[begin[stream] : until if until >= 0 else None]
        part = len(mask(data[begin[stream] : came[stream]]))
        end = masked_begin[stream] + min(part, len(mask(whole_line)))
        if index == last[stream]:
            end = whole[stream]
        end = max(taken[stream], min(end, whole[stream]))
        fitted.append((seconds, stream, end - taken[stream]))
        taken[stream] = end
    return fitted
