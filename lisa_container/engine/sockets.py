"""Make a stream to an engine look like a socket to http.client and to the Docker SDK.

`http.client` needs `makefile`, reference counting on close and timeouts; the SDK reads the raw
file below it when a connection is hijacked (attach, exec). A paramiko channel has none of these
quite right, and bytes that http.client already buffered would be lost on a hijack.
"""

from __future__ import annotations

import contextlib
import io
import select
import socket
import time
from collections.abc import Iterator
from typing import Any

import paramiko

from lisa_container.errors import EngineNotFoundError, SshLostError

CHUNK = 64 * 1024
# What is read at once, where more is there: a quarter as often as CHUNK, twice as quick in all.
_BUFFER = 256 * 1024

# Waiting happens in slices this long (seconds), so that LISA's case timeout, an exception that
# comes between two steps of Python, gets through while a thread waits for the engine.
_SLICE = 0.5


class EngineSocket:
    """One byte stream to the engine: a unix socket, or a channel of the node's SSH connection.

    Args:
        endpoint: a connected `socket.socket` or an open `paramiko.Channel`.
        node: what to call the other end in a message.
    """

    def __init__(self, endpoint: Any, node: str) -> None:
        self._endpoint = endpoint
        self._node = node
        self._is_channel = isinstance(endpoint, paramiko.Channel)
        self._timeout: float | None = None
        self._started = False
        self._files = 0
        self._closed = False

    def recv(self, size: int) -> bytes:
        """Up to `size` bytes; empty at the end of the stream.

        Raises:
            SshLostError: the SSH connection below the stream broke.
            EngineNotFoundError: the way to the engine ended with words before the engine said any.
        """
        data: bytes = self._sliced(self._endpoint.recv, size)
        if self._is_channel and not data:
            self._check_end()
        self._started = True
        return data

    def recv_into(self, buffer: Any) -> int:
        """As `socket.recv_into`."""
        if not self._is_channel:
            return int(self._sliced(self._endpoint.recv_into, buffer))
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def send(self, data: Any) -> int:
        """As `socket.send`."""
        try:
            return int(self._sliced(self._endpoint.send, data))
        except socket.timeout:
            raise
        except OSError:
            if self._is_channel:
                self._check_end()
            raise

    def sendall(self, data: Any) -> None:
        """As `socket.sendall`."""
        view = memoryview(data).cast("B")
        while view:
            view = view[self.send(view[:CHUNK]) :]

    def shutdown(self, how: int) -> None:
        """As `socket.shutdown`; a channel's write side ends with SSH's own end-of-file message."""
        if self._is_channel and how == socket.SHUT_RDWR:
            self._end()  # its own shutdown would not wake a thread that reads
            return
        try:
            self._endpoint.shutdown(how)
        except EOFError as error:
            raise SshLostError(self._node, error) from error

    def settimeout(self, timeout: float | None) -> None:
        """As `socket.settimeout` (seconds)."""
        self._timeout = timeout

    def gettimeout(self) -> float | None:
        """As `socket.gettimeout` (seconds)."""
        return self._timeout

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
        return io.BufferedReader(EngineFile(self), buffering or _BUFFER)

    def close(self) -> None:
        """Close it, once no file made of it is open any more, as `socket.close` does."""
        self._closed = True
        if self._files <= 0:
            self._end()

    def release(self) -> None:
        """Called by a file of this stream when it closes."""
        self._files -= 1
        if self._closed:
            self.close()

    def _end(self) -> None:
        with contextlib.suppress(EOFError):  # the connection below a channel is gone already
            self._endpoint.close()

    def _sliced(self, work: Any, argument: Any) -> Any:
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        while True:
            left = _SLICE if deadline is None else deadline - time.monotonic()
            self._endpoint.settimeout(max(0.001, min(_SLICE, left)))
            try:
                return work(argument)
            except socket.timeout:
                if deadline is not None and time.monotonic() >= deadline:
                    raise
            except (EOFError, paramiko.SSHException) as error:
                # From the transport below a channel, which tells the node what was read.
                raise SshLostError(self._node, error) from error

    def _check_end(self) -> None:
        """A channel does not tell by itself why it ended."""
        channel: paramiko.Channel = self._endpoint
        if not channel.get_transport().is_active():
            raise SshLostError(self._node, ConnectionResetError("the SSH connection ended"))
        if not self._started:
            # A command that was to carry the stream (dial-stdio) failed: these are its words.
            said = channel.recv_stderr(CHUNK).decode(errors="replace").strip()
            if said:
                raise EngineNotFoundError(
                    f"no container engine answers on {self._node}: {said}. Start it (for Docker: "
                    "'systemctl start docker')."
                )


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

    def read_some(self) -> bytes:
        """What is there, or what comes next; empty at the end of the stream."""
        if self._returned:
            data, self._returned = self._returned, b""
            return data
        return self._sock.recv(CHUNK)

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
