"""The last resort on a remote node: `docker system dial-stdio` in session channels.

Each stream costs a process on the node and one of sshd's sessions (`MaxSessions`, 10 by default),
which LISA's own commands need too. So only some of LISA's connection is used, and further SSH
connections are opened for the rest.
"""

from __future__ import annotations

import threading
from typing import Any

import paramiko
from lisa.util.shell import SshShell

from lisa_container.engine.sockets import EngineSocket
from lisa_container.engine.ssh import is_connected, no_delay, open_command, transport_of
from lisa_container.errors import SshLostError

# Of MaxSessions 10, what is left of LISA's own connection is for LISA: SFTP and running commands.
SESSIONS_OF_LISA = 4
SESSIONS_OF_OURS = 10


class StdioDialer:
    """Reaches an engine through `docker system dial-stdio`.

    Args:
        shell: LISA's shell to the node.
        path: absolute path of the engine's socket on the node.
        sudo: run it as root.
        password: the user's password, where sudo asks for one.
    """

    name = "stdio"
    pool_size = 2

    def __init__(self, shell: SshShell, path: str, sudo: bool, password: str | None) -> None:
        self.path = path
        self._shell = shell
        self._sudo = sudo
        self._password = password
        self._lock = threading.Lock()
        self._extra: list[SshShell] = []
        self._channels: list[paramiko.Channel] = []

    def dial(self) -> EngineSocket:
        """See `Dialer.dial`."""
        command = (
            "if command -v docker >/dev/null 2>&1; "
            f"then exec docker -H unix://{self.path} system dial-stdio; "
            f"else exec podman --url unix://{self.path} system dial-stdio; fi"
        )
        with self._lock:
            self._channels = [channel for channel in self._channels if not channel.closed]
            channel = self._open(command)
            self._channels.append(channel)
        return EngineSocket(channel)

    def keepalive_target(self) -> Any:
        """The transport of LISA's connection, if it is open."""
        return transport_of(self._shell) if is_connected(self._shell) else None

    def close(self) -> None:
        """Close the SSH connections opened beside LISA's."""
        with self._lock:
            for shell in self._extra:
                shell.close()
            self._extra.clear()

    def _open(self, command: str) -> paramiko.Channel:
        limits = [(self._shell, SESSIONS_OF_LISA)] + [(x, SESSIONS_OF_OURS) for x in self._extra]
        for shell, limit in limits:
            transport = transport_of(shell)
            used = sum(1 for x in self._channels if x.get_transport() is transport)
            if used >= limit:
                continue
            try:
                return open_command(transport, command, self._sudo, self._password)
            except paramiko.ChannelException:
                continue  # a smaller MaxSessions than expected: try the next connection
            except (paramiko.SSHException, EOFError, OSError) as error:
                raise SshLostError(shell.connection_info.address, error) from error
        extra = SshShell(self._shell.connection_info, self._shell._proxy_jump_boxes)
        transport = transport_of(extra)
        no_delay(transport)
        self._extra.append(extra)
        try:
            return open_command(transport, command, self._sudo, self._password)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise SshLostError(extra.connection_info.address, error) from error
