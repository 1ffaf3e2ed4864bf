"""Conversion of HTTP responses (attach, exec) to plain streams without loss."""

from __future__ import annotations

import contextlib
import io
import select
import socket
import threading

from lisa_container.engine.sockets import CHUNK, EngineFile


def hijack(reader: io.BufferedReader) -> EngineFile:
    """Return the raw stream below an HTTP response.

    Args:
        reader: http.client's reader over an `EngineFile`; it may hold bytes past the headers.
    """
    raw: EngineFile = reader.raw  # type: ignore[assignment]
    with raw.held():
        buffered = reader.peek()
        if buffered:
            # Peeked bytes stay in the reader: read them, so that they do not come twice.
            reader.read1(len(buffered))
    raw.give_back(buffered)
    return raw


def as_real_socket(raw: EngineFile) -> socket.SocketIO:
    """Return a genuine socket (pollable, writable by descriptor) that carries a hijacked stream.

    Users of the SDK expect an attach or exec socket to work like a unix socket: `_sock.sendall`,
    `os.write(fileno)`, `select`. A channel's descriptor cannot be written to, so two threads copy
    the bytes between the stream and a socket pair. Both end when the user closes the socket; the
    reading one also ends when the engine ends the stream.
    """
    ours, theirs = socket.socketpair()
    raw._sock.settimeout(None)
    for job in (_inward, _outward):
        threading.Thread(target=job, args=(raw, ours), name="engine-socket", daemon=True).start()
    with theirs:  # the file object keeps the descriptor open
        return theirs.makefile("rwb", buffering=0)


def _inward(raw: EngineFile, ours: socket.socket) -> None:
    buffer = memoryview(bytearray(CHUNK))
    # Either side may close at any time; the other one then sees the end of the stream.
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
    # The user may only have ended writing. Polling for no event waits until both directions have
    # ended, or the user's socket is closed.
    poll = select.poll()
    poll.register(ours, 0)
    poll.poll()
    with contextlib.suppress(OSError):
        stream.shutdown(socket.SHUT_RDWR)  # wakes the reading thread
    ours.close()
    raw.close()
    stream.close()
