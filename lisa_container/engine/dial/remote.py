"""Dialer for a remote node's engine socket, which sshd opens (direct-streamlocal)."""

from __future__ import annotations

from typing import Any

import paramiko
from lisa.util.shell import SshShell

from lisa_container.engine.dial.base import no_engine_at
from lisa_container.engine.sockets import EngineSocket
from lisa_container.engine.ssh import address_of, is_connected, open_streamlocal, transport_of
from lisa_container.errors import SshLostError


class StreamlocalDialer:
    """Dialer through the node's SSH connection, with one channel for each stream.

    Args:
        shell: LISA's shell to the node.
        path: absolute path of a socket on the node that the login user may open.
    """

    name = "streamlocal"
    pool_size = 10
    as_root = False

    def __init__(self, shell: SshShell, path: str) -> None:
        """Keep the shell and path; `dial` connects."""
        self.shell = shell
        self.path = self.engine_path = path

    def dial(self) -> EngineSocket:
        """See `Dialer.dial`."""
        node = address_of(self.shell)
        while True:
            transport = transport_of(self.shell)
            try:
                return EngineSocket(open_streamlocal(transport, self.path), node)
            except paramiko.ChannelException as error:
                raise no_engine_at(self.path, node, error.text) from error
            except (paramiko.SSHException, EOFError, OSError) as error:
                # The connection was lost before (LISA closes it after each case). The engine got no
                # request yet, so connect again; that raises an error if it fails.
                if transport.is_active():
                    raise SshLostError(node, error) from error

    def keepalive_target(self) -> Any:
        """Return the transport of LISA's connection, if it is open."""
        return transport_of(self.shell) if is_connected(self.shell) else None

    def close(self) -> None:
        """Do nothing: the connection is LISA's."""
