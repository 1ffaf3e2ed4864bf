"""A remote node's engine socket, opened by sshd itself (direct-streamlocal)."""

from __future__ import annotations

import threading
from typing import Any

import paramiko
from lisa.util.shell import SshShell

from lisa_container.engine.sockets import EngineSocket
from lisa_container.engine.ssh import is_connected, open_streamlocal, transport_of
from lisa_container.errors import EngineNotFoundError, SshLostError


class StreamlocalDialer:
    """Opens the engine's socket through the node's SSH connection, one channel a stream.

    Args:
        shell: LISA's shell to the node.
        path: absolute path of a socket on the node that the login user may open.
    """

    name = "streamlocal"
    pool_size = 10

    def __init__(self, shell: SshShell, path: str) -> None:
        self.shell = shell
        self.path = path
        self._lock = threading.Lock()  # LISA's shell may be opened by one thread at a time only

    def dial(self) -> EngineSocket:
        """See `Dialer.dial`."""
        with self._lock:
            transport = transport_of(self.shell)
        try:
            return EngineSocket(open_streamlocal(transport, self.path))
        except paramiko.ChannelException as error:
            raise EngineNotFoundError(
                f"no container engine answers at {self.path} on the node: {error.text}. Start it "
                "(for Docker: 'systemctl start docker')."
            ) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise SshLostError(self.shell.connection_info.address, error) from error

    def keepalive_target(self) -> Any:
        """The transport of LISA's connection, if it is open."""
        return transport_of(self.shell) if is_connected(self.shell) else None

    def close(self) -> None:
        """Nothing to give back."""
