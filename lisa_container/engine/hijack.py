"""HTTP responses that became plain streams (attach, exec), with nothing lost."""

from __future__ import annotations

import contextlib
import io
import select
import socket
import threading

from lisa_container.engine.sockets import CHUNK, EngineFile


def hijack(reader: io.BufferedReader) -> EngineFile:
    """The raw stream below an HTTP response.

    Args:
        reader: http.client's reader over an `EngineFile`; it may hold bytes past the headers.
    """
    raw: EngineFile = reader.raw  # type: ignore[assignment]
    with raw.held():
        buffered = reader.peek()
        if buffered:
            # What peek shows stays in the reader: read it out, so that it is not given twice.
            reader.read1(len(buffered))
    raw.give_back(buffered)
    return raw


def as_real_socket(raw: EngineFile) -> socket.SocketIO:
    """A genuine socket (pollable, writable by descriptor) that carries a hijacked stream.

    Users of the SDK expect of an attach or exec socket what a unix socket gives: `_sock.sendall`,
    `os.write(fileno)`, `select`. A channel's descriptor cannot be written, so two threads carry
    the bytes between it and a socket pair. They end when the user closes the socket, or half when
    the engine ends the stream.
    """
    ours, theirs = socket.socketpair()
    raw._sock.settimeout(None)
    for job in (_inward, _outward):
        threading.Thread(target=job, args=(raw, ours), name="engine-socket", daemon=True).start()
    with theirs:  # the file object keeps the descriptor open by itself
        return theirs.makefile("rwb", buffering=0)


def _inward(raw: EngineFile, ours: socket.socket) -> None:
    buffer = memoryview(bytearray(CHUNK))
    # Either side may go away at any time: the other one sees the end of the stream.
    with contextlib.suppress(OSError, ValueError):
        while True:
            count = raw.readinto(buffer)
            if not count:
                break
            ours.sendall(buffer[:count])
    with contextlib.suppress(OSError):
        ours.shutdown(socket.SHUT_WR)


def _outward(raw: EngineFile, ours: socket.socket) -> None:
    stream = raw._sock
    with contextlib.suppress(OSError):
        while True:
            data = ours.recv(CHUNK)
            if not data:
                break
            stream.sendall(data)
        stream.shutdown(socket.SHUT_WR)
    # Only its writing may be over. For no event at all, poll waits until both directions are, or
    # until the user's end is closed.
    poll = select.poll()
    poll.register(ours, 0)
    poll.poll()
    with contextlib.suppress(OSError):
        stream.shutdown(socket.SHUT_RDWR)  # wakes the other thread
    ours.close()
    raw.close()
    stream.close()
