"""Make an SSH channel look like a socket to http.client and to the Docker SDK.

`http.client` needs `makefile`, reference counting on close and timeouts; the SDK reads the raw
file below it when a connection is hijacked (attach, exec). A paramiko channel has none of these
quite right, and bytes that http.client already buffered would be lost on a hijack.
"""

from __future__ import annotations

import contextlib
import io
import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

import paramiko

from lisa_container.errors import SshLostError

_CHUNK = 64 * 1024


class EngineSocket:
    """One byte stream to the engine: a unix socket, or a channel of the node's SSH connection.

    Args:
        endpoint: a connected `socket.socket` or an open `paramiko.Channel`.
    """

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint
        self._is_channel = isinstance(endpoint, paramiko.Channel)
        self._files = 0
        self._closed = False

    def recv(self, size: int) -> bytes:
        """Up to `size` bytes; empty at the end of the stream.

        Raises:
            SshLostError: the SSH connection below the stream broke.
        """
        data: bytes = self._endpoint.recv(size)
        if not data and self._is_channel:
            self._check_connection()
        return data

    def recv_into(self, buffer: Any) -> int:
        """As `socket.recv_into`."""
        if not self._is_channel:
            return int(self._endpoint.recv_into(buffer))
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def send(self, data: Any) -> int:
        """As `socket.send`."""
        try:
            return int(self._endpoint.send(data))
        except socket.timeout:
            raise
        except OSError:
            self._check_connection()
            raise

    def sendall(self, data: Any) -> None:
        """As `socket.sendall`."""
        view = memoryview(data).cast("B")
        while view:
            view = view[self.send(view[:_CHUNK]) :]

    def shutdown(self, how: int) -> None:
        """As `socket.shutdown`; a channel's write side ends with SSH's own end-of-file message."""
        self._endpoint.shutdown(how)

    def settimeout(self, timeout: float | None) -> None:
        """As `socket.settimeout` (seconds)."""
        self._endpoint.settimeout(timeout)

    def gettimeout(self) -> float | None:
        """As `socket.gettimeout` (seconds)."""
        return self._endpoint.gettimeout()  # type: ignore[no-any-return]

    def fileno(self) -> int:
        """A descriptor that is readable when data is there. (Writing needs `send`.)"""
        return self._endpoint.fileno()  # type: ignore[no-any-return]

    def is_idle(self) -> bool:
        """Whether it is open and nothing waits to be read, so that a request may be sent."""
        if self._is_channel:
            channel = self._endpoint
            return not (
                channel.closed
                or channel.eof_received
                or channel.recv_ready()
                or not channel.get_transport().is_active()
            )
        poll = select.poll()  # not select.select: it ends at descriptor 1024
        poll.register(self._endpoint, select.POLLIN)
        return not poll.poll(0)

    def makefile(self, mode: str = "rb", buffering: int | None = None) -> io.BufferedReader:
        """A buffered reader over this stream; the stream stays open until it too is closed."""
        self._files += 1
        return io.BufferedReader(EngineFile(self), buffering or io.DEFAULT_BUFFER_SIZE)

    def close(self) -> None:
        """Close it, once no file made of it is open any more, as `socket.close` does."""
        self._closed = True
        if self._files <= 0:
            self._endpoint.close()

    def release(self) -> None:
        """Called by a file of this stream when it closes."""
        self._files -= 1
        if self._closed:
            self.close()

    def _check_connection(self) -> None:
        if self._is_channel and not self._endpoint.get_transport().is_active():
            raise SshLostError("the node", ConnectionResetError("the SSH connection ended"))


class EngineFile(io.RawIOBase):
    """The raw file below `http.client`'s reader, with a way to give buffered bytes back."""

    def __init__(self, sock: EngineSocket) -> None:
        super().__init__()
        self._sock = sock
        self._returned = b""
        self._hold = False

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """As `io.RawIOBase.readinto`."""
        if self._hold:
            return None
        if self._returned:
            count = min(len(buffer), len(self._returned))
            buffer[:count] = self._returned[:count]
            self._returned = self._returned[count:]
            return count
        return self._sock.recv_into(buffer)

    def fileno(self) -> int:
        """As `EngineSocket.fileno`."""
        return self._sock.fileno()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """While held, reads return "nothing yet": a reader above gives only what it has already."""
        self._hold = True
        try:
            yield
        finally:
            self._hold = False

    def give_back(self, data: bytes) -> None:
        """Put bytes in front of what the stream gives next."""
        self._returned = data + self._returned

    def close(self) -> None:
        """Close this file and let go of the stream."""
        if not self.closed:
            super().close()
            self._sock.release()


def hijack(reader: io.BufferedReader) -> EngineFile:
    """The raw stream of an HTTP response that became a plain stream, with nothing lost.

    Args:
        reader: http.client's reader over an `EngineFile`; it may hold bytes past the headers.
    """
    raw: EngineFile = reader.raw  # type: ignore[assignment]
    with raw.held():
        buffered = reader.peek()
        # What peek shows stays in the reader: read it out, so that it is not given twice.
        reader.read1(len(buffered)) if buffered else None
    raw.give_back(buffered)
    return raw


def as_real_socket(raw: EngineFile) -> socket.SocketIO:
    """A genuine socket (pollable, writable by descriptor) that carries a hijacked stream.

    Users of the SDK expect of an attach or exec socket what a unix socket gives: `_sock.sendall`,
    `os.write(fileno)`, `select`. A channel's descriptor cannot be written, so two threads carry
    the bytes between it and a socket pair; they end with either side.
    """
    ours, theirs = socket.socketpair()
    stream = raw._sock
    stream.settimeout(None)

    def inward() -> None:
        buffer = bytearray(_CHUNK)
        try:
            while True:
                count = raw.readinto(memoryview(buffer))
                if not count:
                    break
                ours.sendall(memoryview(buffer)[:count])
        except OSError:
            pass  # either side is gone: the other sees the end of the stream
        finally:
            with contextlib.suppress(OSError):
                ours.shutdown(socket.SHUT_WR)

    def outward() -> None:
        try:
            while True:
                data = ours.recv(_CHUNK)
                if not data:
                    break
                stream.sendall(data)
            stream.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    threads = [threading.Thread(target=job, daemon=True) for job in (inward, outward)]
    for thread in threads:
        thread.start()

    def close_when_done() -> None:
        for thread in threads:
            thread.join()
        ours.close()
        raw.close()

    threading.Thread(target=close_when_done, daemon=True).start()
    with theirs:  # the file object keeps the descriptor open by itself
        return theirs.makefile("rwb", buffering=0)
