"""TCP connections to addresses that a node can reach, such as those of its containers."""

from __future__ import annotations

import socket
from typing import Union

import paramiko
from lisa.node import Node
from lisa.util.shell import SshShell

from lisa_container.engine.ssh import hide_refusals, transport_of

TcpStream = Union[socket.socket, paramiko.Channel]


def open_tcp(node: Node, address: str, port: int, seconds: float) -> TcpStream:
    """Connect to an address as a node sees it: through the SSH server of a remote node.

    Args:
        node: The node.
        address: IP address.
        port: TCP port.
        seconds: Time limit of the connection, and of each step of its use.

    Raises:
        OSError: Nothing accepts the connection, or the SSH server does not forward it.
        SshLostError: The node cannot be reached.
    """
    shell = node.shell
    if not isinstance(shell, SshShell):
        return socket.create_connection((address, port), seconds)
    transport = transport_of(shell)
    try:
        here = ("127.0.0.1", 0)
        with hide_refusals():
            channel = transport.open_channel("direct-tcpip", (address, port), here, timeout=seconds)
    except (paramiko.SSHException, EOFError) as error:
        raise OSError(f"the node's SSH server does not connect to it: {error}") from error
    channel.settimeout(seconds)
    return channel
