"""File that a tar is read from."""

from __future__ import annotations

import os
from collections.abc import Iterator

_PIECE = 256 * 1024


class FileSource:
    """Open file, read from its start.

    Args:
        handle: descriptor of the file.
    """

    def __init__(self, handle: int) -> None:
        """Begin at the start of the file."""
        self._handle = handle
        self._size = os.fstat(handle).st_size
        self.at = 0
        """Offset of the next read."""

    def read(self, size: int) -> bytes:
        """See `tar.Source`."""
        data = read_at(self._handle, self.at, size)
        self.at += len(data)
        return data

    def read_some(self, most: int) -> bytes:
        """See `tar.Source`."""
        return self.read(most)

    def skip(self, size: int) -> int:
        """See `tar.Source`."""
        size = max(0, min(size, self._size - self.at))
        self.at += size
        return size


def read_at(handle: int, at: int, size: int) -> bytes:
    """Read bytes of a file from an offset on; fewer only at its end."""
    data = os.pread(handle, size, at)
    while len(data) < size:
        more = os.pread(handle, size - len(data), at + len(data))
        if not more:
            break
        data += more
    return data


def pieces_at(handle: int, at: int, size: int) -> Iterator[bytes]:
    """Yield bytes of a file from an offset on, in pieces."""
    while size:
        piece = read_at(handle, at, min(size, _PIECE))
        if not piece:
            return
        yield piece
        at += len(piece)
        size -= len(piece)
