"""The framing of a container's output on a hijacked stream.

https://docs.docker.com/reference/api/engine/version/v1.45/#tag/Container/operation/ContainerAttach,
"Stream format": 8 bytes of header (the stream's number, three zeros, the length), then the data.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from lisa_container.engine.sockets import CHUNK, EngineFile

STDOUT, STDERR = 1, 2

_HEADER = struct.Struct(">BxxxL")


def read_frames(raw: EngineFile, tty: bool = False) -> Iterator[tuple[int, bytes]]:
    """The output of a container or exec as (stream, data) while it comes, up to its end.

    Args:
        raw: the hijacked stream.
        tty: the output comes from a terminal: there are no frames, and all of it is stdout.

    Raises:
        SshLostError: the connection broke.
    """
    while tty:
        data = raw.read(CHUNK)
        if not data:
            return
        yield STDOUT, data
    while True:
        header = b""
        while len(header) < _HEADER.size:
            piece = raw.read(_HEADER.size - len(header))
            if not piece:
                return
            header += piece
        stream, left = _HEADER.unpack(header)
        while left:
            data = raw.read(min(left, CHUNK))
            if not data:
                return
            left -= len(data)
            yield stream, data
