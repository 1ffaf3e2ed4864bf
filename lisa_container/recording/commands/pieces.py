"""Order in which pieces of stdout and stderr of a command arrived."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import IO

from lisa_container.recording.commands.journal import Journal
from lisa_container.recording.files import json_line
from lisa_container.recording.records import OUTPUT_FOLDER, Piece

# Maximum number of pieces within the line of the command.
_INLINE = 200
# Pieces of one stream that arrive within this time (seconds) are merged.
_TOGETHER = 0.005


class Pieces:
    """Sizes and times of the pieces of a command's output.

    Args:
        journal: journal of the command.
        name: name of the file for many pieces.
    """

    def __init__(self, journal: Journal, name: str) -> None:
        """Begin without a piece."""
        self._journal = journal
        self._name = name
        self._waiting: list[list[float]] = []
        self._file: IO[bytes] | None = None
        self._has_failed = False

    def add(self, seconds: float, stream: int, size: int) -> None:
        """Add a piece.

        Args:
            seconds: seconds since the command's start.
            stream: 1 for stdout or 2 for stderr.
            size: size in bytes.
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
        """Return the pieces, or the name of their file, for the record.

        Args:
            fit: adapts the sizes of pieces within the line to the masked text.
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
    """Return the pieces with the sizes that they have in the masked text.

    Args:
        pieces: pieces with their sizes on arrival.
        raw: number of a stream to its output, for streams in which something was masked.
        mask: masks a part of the output.
    """
    whole = {stream: len(mask(data)) for stream, data in raw.items()}
    # For each stream: bytes that arrived, begin of the current line, the same in the masked text,
    # and bytes that previous pieces took.
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
        # The begin of a secret is not masked yet, and may be longer than its mask.
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
