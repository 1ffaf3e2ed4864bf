"""Frames of a container's output on a hijacked stream.

A frame is 8 bytes of header (the stream's number, three zeros, the length) and the data. See
"Stream format" in
https://docs.docker.com/reference/api/engine/version/v1.45/#tag/Container/operation/ContainerAttach.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from lisa_container.engine.sockets import EngineFile
from lisa_container.errors import EngineError

STDOUT, STDERR = 1, 2

# Docker has a third stream for its own errors (moby, pkg/stdcopy). As the API's description says,
# frames with the number of stdin belong to stdout.
_STDIN, _ERROR = 0, 3

_HEADER = struct.Struct(">B3sL")
# Bytes of the engine's message to keep.
_LONGEST_MESSAGE = 4096


class FrameSplitter:
    """Splitter of a framed stream that arrives in any pieces. It never holds a whole frame."""

    def __init__(self) -> None:
        """Start at the first header."""
        self._header = b""
        self._message = b""
        self._stream = 0
        self._left = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the next pieces as (stream, data); a frame may come in several.

        Raises:
            EngineError: the data has no frames, or the engine reports an error.
        """
        start, end = 0, len(data)
        while start < end:
            if self._left:
                piece = data[start : start + self._left]
                start += len(piece)
                self._left -= len(piece)
                if self._stream == _ERROR:
                    self._message = (self._message + piece)[:_LONGEST_MESSAGE]
                    if not self._left or len(self._message) == _LONGEST_MESSAGE:
                        message = self._message.decode(errors="replace")
                        raise EngineError(f"the engine could not pass on all output: {message}")
                else:
                    yield self._stream or STDOUT, piece
                continue
            missing = _HEADER.size - len(self._header)
            self._header += data[start : start + missing]
            start += missing
            if len(self._header) == _HEADER.size:
                self._stream, zeros, self._left = _HEADER.unpack(self._header)
                if self._stream not in (_STDIN, STDOUT, STDERR, _ERROR) or any(zeros):
                    raise EngineError(
                        f"the engine sent something else than a command's output: {self._header!r}"
                    )
                self._header = b""


def read_frames(raw: EngineFile, tty: bool = False) -> Iterator[tuple[int, bytes]]:
    """Yield the output of a container or exec as (stream, data) as it comes, up to its end.

    Args:
        raw: the hijacked stream.
        tty: the output comes from a terminal, so it has no frames and all of it is stdout.

    Raises:
        SshLostError: the connection broke.
        EngineError: see `FrameSplitter.feed`.
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
