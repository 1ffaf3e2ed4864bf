"""Control channel into the guest: scripts over its second serial port, without network or SSH."""

from __future__ import annotations

import socket
import threading
import time

from lisa_container.errors import VmError

_READY = b"ready"
_DONE = b"done "
SCRIPT_END = "."
"""Line that ends a script for the guest's side."""

_CHUNK = 4096


class AgentLostError(Exception):
    """The channel is closed: QEMU has ended."""


class Agent:
    """Host side of the channel; `guest/agent.sh` is the guest's.

    Args:
        name: name of the VM, for errors.
    """

    def __init__(self, name: str) -> None:
        """Begin without a connection; `connect` comes first."""
        self._name = name
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._rest = b""

    def connect(self, connection: socket.socket) -> None:
        """Use a connection from now on, and close the one before.

        Args:
            connection: connected socket, of which QEMU has the other end.
        """
        self.close()
        self._socket, self._rest = connection, b""

    def is_ready(self, seconds: float) -> bool:
        """Return whether the guest's side, or a script there, says that it is ready; wait for that.

        Args:
            seconds: time limit.

        Raises:
            AgentLostError: QEMU has ended.
        """
        return self._read_line(seconds) == _READY

    def send(self, text: str) -> None:
        """Send text to the guest's side, or to a script there that reads the port itself.

        Args:
            text: one or more lines. The lines of a script end with `SCRIPT_END`; it runs in the
                guest's sh as root, and its output goes to the console.

        Raises:
            AgentLostError: QEMU has ended.
        """
        with self._lock:
            if self._socket is None:
                raise AgentLostError
            self._socket.settimeout(None)
            try:
                self._socket.sendall(f"{text}\n".encode())
            except OSError as error:
                raise AgentLostError(str(error)) from error

    def is_done(self, seconds: float) -> bool:
        """Return whether the script has ended, after waiting for that.

        Args:
            seconds: time limit.

        Raises:
            AgentLostError: QEMU has ended.
            VmError: the script failed.
        """
        deadline = time.monotonic() + seconds
        while True:
            line = self._read_line(deadline - time.monotonic())
            if line.startswith(_DONE):
                break
            if not line:
                return False
            # A guest that has booted again says that it is ready.
        if line[len(_DONE) :] != b"0":
            raise VmError(
                f"VM '{self._name}': a script that prepares the guest failed with"
                f" {line[len(_DONE) :].decode('ascii', 'replace')}; its output is on the console"
            )
        return True

    def close(self) -> None:
        """Close the channel. Do nothing if that is done already."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _read_line(self, seconds: float) -> bytes:
        """Return the next line, or nothing if it does not come in time."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            if left <= 0:
                return b""
            with self._lock:
                if self._socket is None:
                    raise AgentLostError
                self._socket.settimeout(left)
                try:
                    piece = self._socket.recv(_CHUNK)
                except socket.timeout:
                    return b""
                except OSError as error:
                    raise AgentLostError(str(error)) from error
                if not piece:
                    raise AgentLostError
                self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        return line.strip()
