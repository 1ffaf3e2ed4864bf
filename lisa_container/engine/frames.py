"""The framing of a container's output on a hijacked stream.

https://docs.docker.com/reference/api/engine/version/v1.45/#tag/Container/operation/ContainerAttach,
"Stream format": 8 bytes of header (the stream's number, three zeros, the length), then the data.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from lisa_container.engine.sockets import EngineFile

STDOUT, STDERR = 1, 2

_HEADER = struct.Struct(">BxxxL")


class FrameSplitter:
    """Takes such a stream apart, however its bytes arrive."""

    def __init__(self) -> None:
        self._header = b""
        self._stream = 0
        self._left = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The next pieces as (stream, data); a frame may come in several."""
        start, end = 0, len(data)
        while start < end:
            if self._left:
                piece = data[start : start + self._left]
                start += len(piece)
                self._left -= len(piece)
                yield self._stream, piece
                continue
            missing = _HEADER.size - len(self._header)
            self._header += data[start : start + missing]
            start += missing
            if len(self._header) == _HEADER.size:
                self._stream, self._left = _HEADER.unpack(self._header)
                self._header = b""


def read_frames(raw: EngineFile, tty: bool = False) -> Iterator[tuple[int, bytes]]:
    """The output of a container or exec as (stream, data) while it comes, up to its end.

    Args:
        raw: the hijacked stream.
        tty: the output comes from a terminal: there are no frames, and all of it is stdout.

    Raises:
        SshLostError: the connection broke.
    """
    splitter = FrameSplitter()
    while True:
        data = raw.read_some()
        if not data:
            return
        if tty:
            yield STDOUT, data
        else:
            yield from splitter.feed(data)
