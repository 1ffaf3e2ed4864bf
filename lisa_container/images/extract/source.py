"""Where a tar is read from: a stream, or a file."""

from __future__ import annotations

import os
from collections.abc import Iterator

_PIECE = 256 * 1024


class StreamSource:
    """A stream of chunks; it only goes forward.

    Args:
        chunks: of any size; none empty but the last.
    """

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = b""
        self._at = 0

    def read(self, size: int) -> bytes:
        """See `tar.Source`."""
        pieces = []
        while size:
            piece = self._piece(size)
            if not piece:
                break
            pieces.append(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def skip(self, size: int) -> int:
        """See `tar.Source`."""
        left = size
        while left:
            piece = self._piece(left)
            if not piece:
                break
            left -= len(piece)
        return size - left

    def drain(self) -> None:
        """Read to the end."""
        while self.skip(_PIECE):
            pass

    def _piece(self, most: int) -> bytes:
        while self._at >= len(self._chunk):
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._chunk, self._at = chunk, 0
        piece = self._chunk[self._at : self._at + most]
        self._at += len(piece)
        return piece


class FileSource:
    """An open file, from its begin.

    Args:
        handle: its descriptor.
    """

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._size = os.fstat(handle).st_size
        self.at = 0
        """Where the next read begins."""

    def read(self, size: int) -> bytes:
        """See `tar.Source`."""
        data = read_at(self._handle, self.at, size)
        self.at += len(data)
        return data

    def skip(self, size: int) -> int:
        """See `tar.Source`."""
        size = max(0, min(size, self._size - self.at))
        self.at += size
        return size


def read_at(handle: int, at: int, size: int) -> bytes:
    """The bytes of a file from a place on; fewer only at its end."""
    data = os.pread(handle, size, at)
    while len(data) < size:
        more = os.pread(handle, size - len(data), at + len(data))
        if not more:
            break
        data += more
    return data


def pieces_at(handle: int, at: int, size: int) -> Iterator[bytes]:
    """The same, a piece at a time."""
    while size:
        piece = read_at(handle, at, min(size, _PIECE))
        if not piece:
            return
        yield piece
        at += len(piece)
        size -= len(piece)
