"""Streams to an engine that look like sockets to http.client and to the Docker SDK.

`http.client` needs `makefile`, reference counting on close, and timeouts. When a connection is
hijacked (attach, exec), the SDK reads the raw file below. A paramiko channel differs in all of
these, and a hijack would lose bytes that http.client has buffered.
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
from lisa_container.escaping import quote_output

CHUNK = 64 * 1024
# Size of a reader's buffer: reading is twice as fast with it as with CHUNK.
_BUFFER = 256 * 1024

# Wait in slices of this length (seconds). LISA's case timeout is an exception between two steps of
# Python, so it must get through while a thread waits for the engine.
_SLICE = 0.5


class EngineSocket:
    """Byte stream to the engine: a unix socket, or a channel of the node's SSH connection.

    Args:
        endpoint: a connected `socket.socket` or an open `paramiko.Channel`.
        node: the node's name, for messages.
    """

    def __init__(self, endpoint: Any, node: str) -> None:
        """Wrap the endpoint, which is closed together with this stream."""
        self._endpoint = endpoint
        self._node = node
        self._is_channel = isinstance(endpoint, paramiko.Channel)
        self._timeout: float | None = None
        self._started = False
        self._files = 0
        self._closed = False

    def recv(self, size: int) -> bytes:
        """Return up to `size` bytes; none at the end of the stream.

        Raises:
            SshLostError: the SSH connection below the stream broke.
            EngineNotFoundError: the command that carries the stream failed with an error message.
        """
        data: bytes = self._sliced(self._endpoint.recv, size, self._timeout)
        if self._is_channel and not data:
            self._check_end()
        self._started = True
        return data

    def recv_into(self, buffer: Any) -> int:
        """Receive like `socket.recv_into`."""
        if not self._is_channel:
            return int(self._sliced(self._endpoint.recv_into, buffer, self._timeout))
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def send(self, data: Any) -> int:
        """Send like `socket.send`."""
        return self._send(data, self._timeout)

    def _send(self, data: Any, timeout: float | None) -> int:
        try:
            return int(self._sliced(self._endpoint.send, data, timeout))
        except socket.timeout:
            raise
        except OSError:
            if self._is_channel:
                self._check_end()
            raise

    def sendall(self, data: Any) -> None:
        """Send like `socket.sendall`."""
        view = memoryview(data).cast("B")
        timeout = self._timeout  # a thread that reads may set another one meanwhile
        while view:
            view = view[self._send(view[:CHUNK], timeout) :]

    def shutdown(self, how: int) -> None:
        """Shut down like `socket.shutdown`; a channel sends SSH's end-of-file message."""
        if self._is_channel and how == socket.SHUT_RDWR:
            self._end()  # a channel's own shutdown would not wake a thread that reads
            return
        try:
            self._endpoint.shutdown(how)
        except EOFError as error:
            raise SshLostError(self._node, error) from error

    def settimeout(self, timeout: float | None) -> None:
        """Set the timeout in seconds, like `socket.settimeout`."""
        self._timeout = timeout

    def gettimeout(self) -> float | None:
        """Return the timeout in seconds, like `socket.gettimeout`."""
        return self._timeout

    def fileno(self) -> int:
        """Return a descriptor that is readable when data has come. Write with `send` only."""
        return self._endpoint.fileno()  # type: ignore[no-any-return]

    def is_idle(self) -> bool:
        """Return whether the stream is open with nothing to read, so a request may be sent."""
        if self._is_channel:
            channel = self._endpoint
            return not (
                channel.closed
                or channel.eof_received
                or channel.recv_ready()
                or not channel.get_transport().is_active()
            )
        poll = select.poll()  # not select.select, which fails above descriptor 1023
        poll.register(self._endpoint, select.POLLIN)
        return not poll.poll(0)

    def makefile(self, mode: str = "rb", buffering: int | None = None) -> io.BufferedReader:
        """Return a buffered reader; the stream stays open until the reader is closed too."""
        self._files += 1
        return io.BufferedReader(EngineFile(self), buffering or _BUFFER)

    def close(self) -> None:
        """Close the stream once all files made of it are closed, like `socket.close`."""
        self._closed = True
        if self._files <= 0:
            self._end()

    def release(self) -> None:
        """Count one file of this stream as closed; its `close` calls this."""
        self._files -= 1
        if self._closed:
            self.close()

    def _end(self) -> None:
        with contextlib.suppress(EOFError):  # the connection below a channel has ended
            self._endpoint.close()

    def _sliced(self, work: Any, argument: Any, timeout: float | None) -> Any:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _SLICE if deadline is None else deadline - time.monotonic()
            self._endpoint.settimeout(max(0.001, min(_SLICE, left)))
            try:
                return work(argument)
            except socket.timeout:
                if deadline is not None and time.monotonic() >= deadline:
                    raise
            except (EOFError, paramiko.SSHException) as error:
                # Reading a channel also sends window updates, which fail on a lost connection.
                raise SshLostError(self._node, error) from error

    def _check_end(self) -> None:
        """Raise the reason for which a channel ended, if it is an error."""
        channel: paramiko.Channel = self._endpoint
        if not channel.get_transport().is_active():
            raise SshLostError(self._node, ConnectionResetError("the SSH connection ended"))
        if not self._started:
            # The command that carries the stream (dial-stdio) may have failed with a message.
            message = channel.recv_stderr(CHUNK).decode(errors="replace").strip()
            if message:
                raise EngineNotFoundError(
                    f"no container engine answers on {self._node}: {quote_output(message)}. Start "
                    "it (for Docker: 'systemctl start docker')."
                )


class EngineFile(io.RawIOBase):
    """Raw file below `http.client`'s reader that takes buffered bytes back."""

    def __init__(self, sock: EngineSocket) -> None:
        """Read from `sock`, and release it at the end."""
        super().__init__()
        self._sock = sock
        self._returned = b""
        self._hold = False

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read like `io.RawIOBase.readinto`."""
        if self._hold:
            return None
        if self._returned:
            count = min(len(buffer), len(self._returned))
            buffer[:count] = self._returned[:count]
            self._returned = self._returned[count:]
            return count
        return self._sock.recv_into(buffer)

    def read_some(self, most: int = CHUNK) -> bytes:
        """Return the bytes that have come, or wait for the next ones; none at the end.

        Args:
            most: bytes to receive at once. Bytes that were given back come whole.
        """
        if self._returned:
            data, self._returned = self._returned, b""
            return data
        return self._sock.recv(most)

    def fileno(self) -> int:
        """Return the descriptor of `EngineSocket.fileno`."""
        return self._sock.fileno()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let reads return "nothing yet" meanwhile, so a reader above returns only its buffer."""
        self._hold = True
        try:
            yield
        finally:
            self._hold = False

    def give_back(self, data: bytes) -> None:
        """Return bytes to the stream; the next read gets them first."""
        self._returned = data + self._returned

    def close(self) -> None:
        """Close this file and release the stream."""
        if not self.closed:
            super().close()
            self._sock.release()
