"""One attempt to connect to an SSH server, and the error that tells why it failed."""

from __future__ import annotations

import re
import socket

import paramiko

from lisa_container.errors import UnreachableError

# Texts of getaddrinfo(3) for a name that is unknown or cannot be looked up, as sshd sends them.
_UNKNOWN_NAME = re.compile(r"\b(name|hostname|resolution)\b", re.IGNORECASE)
# What paramiko makes of SSH_OPEN_ADMINISTRATIVELY_PROHIBITED (RFC 4254, section 5.1).
_PROHIBITED = 1


class NoServerError(ConnectionError):
    """The port accepts connections, but no SSH server answers there."""


def knock(address: str, port: int, seconds: float) -> None:
    """Connect to an SSH server, wait for its first byte, and disconnect.

    Args:
        address: name or address of its host.
        port: its port.
        seconds: time limit for the connection, and for the first byte.

    Raises:
        OSError: there is no connection, or no byte; `explain` makes a message of it.
    """
    try:
        connection = socket.create_connection((address, port), seconds)
    except UnicodeError as error:  # no name of a host, such as 'a..b'
        raise socket.gaierror(socket.EAI_NONAME, str(error)) from error
    with connection:
        # An SSH server sends the first bytes (RFC 4253, section 4.2). A proxy or load balancer in
        # front of a dead server accepts the connection but sends nothing.
        try:
            if connection.recv(1):
                return
        except OSError as error:
            raise NoServerError(str(error)) from error
        raise NoServerError("the connection was closed")


def explain(address: str, port: int, error: Exception, way: str = "") -> UnreachableError:
    """Return the error for a machine that cannot be connected to: which of its causes, what to do.

    Args:
        address: name or address of the machine.
        port: port of its SSH server.
        error: from `knock`, or from paramiko for a connection behind a jump box.
        way: words about the jump box, such as " through the jump box 10.0.0.1:22".
    """
    place, reason = f"{address}:{port}{way}", _reason(error)
    looked_up = "the jump box" if way else "this machine"
    if isinstance(error, socket.gaierror) or _is_said(error, _UNKNOWN_NAME):
        return UnreachableError(
            f"host name '{address}' is unknown{way} ({reason}): check its spelling, and the DNS "
            f"of {looked_up}"
        )
    if isinstance(error, ConnectionRefusedError) or _is_said(error, re.compile("refused")):
        return UnreachableError(
            f"port {port} of '{address}' is closed{way} ({reason}): check the port, and that the "
            "SSH server of the node runs"
        )
    if isinstance(error, NoServerError):
        return UnreachableError(
            f"no SSH server answers at {place}, though the port is open ({reason}): check the "
            "port, and the SSH server of the node"
        )
    if isinstance(error, paramiko.ChannelException) and error.code == _PROHIBITED:
        return UnreachableError(
            f"no connection to {place}: the jump box does not allow it ({reason}). Set "
            "'AllowTcpForwarding yes' in its sshd_config"
        )
    return UnreachableError(
        f"no answer from {place} ({reason}): check the address, that the node is up, and that no "
        "firewall drops the connection"
    )


def _reason(error: Exception) -> str:
    if isinstance(error, paramiko.ChannelException):
        return str(error.text)
    return str(getattr(error, "strerror", "") or error)


def _is_said(error: Exception, text: re.Pattern[str]) -> bool:
    """Return whether a jump box said so, of a machine behind it."""
    return isinstance(error, paramiko.ChannelException) and bool(text.search(error.text))
