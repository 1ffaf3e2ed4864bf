"""Last resort on a remote node: `docker system dial-stdio` in session channels.

Each stream takes a process on the node and one of sshd's sessions (`MaxSessions`, 10 by default),
which LISA's commands need too. So only some sessions of LISA's connection are used, and further SSH
connections are opened for more streams.

Limitation: docker's client does not notice that we closed a hijacked stream (attach, exec) on which
the engine sends nothing. Its process then stays until the container ends.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import paramiko
from lisa.util.shell import SshShell

from lisa_container.engine.sockets import EngineSocket
from lisa_container.engine.ssh import address_of, is_connected, open_command, transport_of
from lisa_container.errors import EngineError, SshLostError

# Our share of LISA's connection: of MaxSessions 10, LISA needs the rest for SFTP and commands.
SESSIONS_OF_LISA = 4
SESSIONS_OF_OURS = 10

# docker's client or podman's, with different options for the socket.
_COMMAND = (
    "if command -v docker >/dev/null; then exec docker -H unix://{path} system dial-stdio; "
    "elif command -v podman >/dev/null; then exec podman --url unix://{path} system dial-stdio; "
    "else echo 'neither docker nor podman is there to carry the stream' >&2; exit 127; fi"
)


@dataclass
class _Connection:
    """SSH connection and the channels open on it."""

    shell: SshShell
    limit: int
    opening: int = 0
    channels: list[paramiko.Channel] = field(default_factory=list)

    def used(self) -> int:
        self.channels = [channel for channel in self.channels if not channel.closed]
        return self.opening + len(self.channels)


class StdioDialer:
    """Dialer that starts `docker system dial-stdio` for each stream.

    Args:
        shell: LISA's shell to the node.
        path: absolute path of the engine's socket on the node.
        sudo: run it as root.
        password: the user's password, for sudo.
    """

    name = "stdio"
    pool_size = 2

    def __init__(self, shell: SshShell, path: str, sudo: bool, password: str | None) -> None:
        """Start with LISA's connection alone; `dial` opens further ones."""
        self.path = self.engine_path = path
        self.as_root = sudo
        self._shell = shell
        self._password = password
        self._lock = threading.Lock()
        self._lisas = _Connection(shell, SESSIONS_OF_LISA)
        self._extra: list[_Connection] = []

    def dial(self) -> EngineSocket:
        """See `Dialer.dial`."""
        command = _COMMAND.format(path=self.path)
        while True:
            connection = self._reserve()
            channel = None
            try:
                transport = transport_of(connection.shell)
                channel = open_command(transport, command, self.as_root, self._password)
                return EngineSocket(channel, address_of(self._shell))
            except paramiko.ChannelException as error:
                self._lower_limit(connection, error)
            except EngineError:
                raise
            except (paramiko.SSHException, EOFError, OSError) as error:
                if transport.is_active():
                    raise SshLostError(address_of(self._shell), error) from error
                # The connection was lost before. The engine got no request yet, so connect again.
            finally:
                with self._lock:
                    connection.opening -= 1
                    if channel is not None:
                        connection.channels.append(channel)

    def keepalive_target(self) -> Any:
        """Return the transport of LISA's connection, if it is open."""
        return transport_of(self._shell) if is_connected(self._shell) else None

    def close(self) -> None:
        """Close the SSH connections opened beside LISA's."""
        with self._lock:
            extra, self._extra = self._extra, []
        for connection in extra:
            connection.shell.close()

    def _reserve(self) -> _Connection:
        """Return a connection with room for one more stream, and count that stream."""
        with self._lock:
            self._close_unused()
            for connection in (self._lisas, *self._extra):
                if connection.used() < connection.limit:
                    break
            else:
                shell = SshShell(self._shell.connection_info, self._shell._proxy_jump_boxes)
                connection = _Connection(shell, SESSIONS_OF_OURS)
                self._extra.append(connection)
            connection.opening += 1
            return connection

    def _close_unused(self) -> None:
        """Keep one connection without streams, for the next burst."""
        unused = [connection for connection in self._extra if not connection.used()]
        for connection in unused[1:]:
            self._extra.remove(connection)
            connection.shell.close()

    def _lower_limit(self, connection: _Connection, error: paramiko.ChannelException) -> None:
        """Lower the limit of a connection on which sshd refused a session."""
        with self._lock:
            granted = connection.used() - 1
            if granted <= 0 and connection is not self._lisas:
                raise EngineError(
                    f"sshd on {address_of(self._shell)} grants no session on a new connection: "
                    f"{error.text}. Raise MaxSessions in its sshd_config."
                ) from error
            connection.limit = min(connection.limit, granted)
