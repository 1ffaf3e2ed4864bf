"""The SSH connection LISA already opened to a node, and what is needed of it here.

LISA logs in once (jump boxes, keys and passwords included) and keeps a paramiko transport inside
spur. A second login would cost hundreds of milliseconds and could fail where the first did not, so
everything the engine needs travels over that same transport as further channels.
"""

from __future__ import annotations

import logging
import secrets
import socket
import threading
import time
from typing import Any

import paramiko
from lisa.util.shell import SshShell

from lisa_container.errors import SshLostError, SudoError

# Time for a channel to be granted by sshd, in seconds. paramiko's own default is one hour.
CHANNEL_TIMEOUT = 30.0


# paramiko logs each refused channel as an error; here a refusal is an exception, and often expected.
logging.getLogger("paramiko.transport").addFilter(
    lambda record: not record.getMessage().startswith("Secsh channel")
)


def transport_of(shell: SshShell) -> paramiko.Transport:
    """The live paramiko transport of a LISA shell, connecting again where LISA had closed it.

    Args:
        shell: the shell of a remote node.

    Raises:
        SshLostError: the node cannot be reached any more.
    """
    try:
        transport = _live_transport(shell)
        if transport is None:
            # LISA closes the connection after each case; its shell connects again on the next use.
            shell.close()
            transport = _live_transport(shell)
    except Exception as error:
        raise SshLostError(_address(shell), error) from error
    if transport is None:
        raise SshLostError(_address(shell), RuntimeError("the connection closed at once"))
    no_delay(transport)
    return transport


def is_connected(shell: SshShell) -> bool:
    """Whether LISA's connection is open now. Never connects."""
    inner = shell._inner_shell
    client = inner._spur._client if inner is not None else None
    transport = client.get_transport() if client is not None else None
    return transport is not None and transport.is_active()


def no_delay(transport: Any) -> None:
    """Switch Nagle's algorithm off; paramiko leaves it on, at 40 ms for each first small packet."""
    sock = transport.sock
    while isinstance(sock, paramiko.Channel):  # through jump boxes: down to the socket of the first
        sock = sock.get_transport().sock
    if isinstance(sock, socket.socket) and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def open_streamlocal(transport: paramiko.Transport, path: str) -> paramiko.Channel:
    """Open a channel to a unix socket on the node (`direct-streamlocal@openssh.com`).

    OpenSSH's PROTOCOL file, section 2.4, defines the request. Such a channel opens in about 1 ms
    and does not count against sshd's `MaxSessions`. paramiko has no public call for it, so this
    does what `Transport.open_channel` does, with this request's own fields.

    Args:
        transport: an authenticated transport.
        path: absolute path of the socket on the node.

    Raises:
        paramiko.ChannelException: refused: code 1 where sshd forbids it, code 2 where the socket
            does not exist or the user may not open it.
        paramiko.SSHException: the connection ended, or no answer came in time.
    """
    state: Any = transport
    if not state.active:
        raise paramiko.SSHException("SSH session not active")
    # These attributes are internal, but stable since paramiko 1.0.
    with state.lock:
        window = state._sanitize_window_size(None)
        packet = state._sanitize_packet_size(None)
        channel_id = state._next_channel()
        message = paramiko.Message()
        message.add_byte(paramiko.common.cMSG_CHANNEL_OPEN)
        message.add_string("direct-streamlocal@openssh.com")
        message.add_int(channel_id)
        message.add_int(window)
        message.add_int(packet)
        message.add_string(path)
        message.add_string("")  # reserved
        message.add_int(0)  # reserved
        channel: Any = paramiko.Channel(channel_id)
        state._channels.put(channel_id, channel)
        event = threading.Event()
        state.channel_events[channel_id] = event
        state.channels_seen[channel_id] = True
        channel._set_transport(state)
        channel._set_window(window, packet)
    state._send_user_message(message)
    deadline = time.monotonic() + CHANNEL_TIMEOUT
    while not event.wait(0.1):
        if not state.active or time.monotonic() > deadline:
            break
    if not event.is_set() or state._channels.get(channel_id) is None:
        raise state.get_exception() or paramiko.SSHException(
            "SSH session not active" if not state.active else "timeout opening channel"
        )
    return channel  # type: ignore[no-any-return]


def open_command(
    transport: paramiko.Transport, command: str, sudo: bool, password: str | None
) -> paramiko.Channel:
    """Start a shell command in a session channel whose stdin and stdout are then the command's own.

    With sudo, a password is sent only after sudo asked for it: sent blindly it would reach the
    command's stdin wherever sudo did not need it.

    Args:
        transport: an authenticated transport.
        command: for the login user's shell (with sudo: for root's `sh`).
        sudo: run it as root.
        password: the user's password, where sudo may ask for one.

    Raises:
        SudoError: sudo refused, or asked for a password and none (or a wrong one) is known.
        paramiko.SSHException: the session was refused (MaxSessions) or the connection ended.
    """
    channel = transport.open_session(timeout=CHANNEL_TIMEOUT)
    if not sudo:
        channel.exec_command(command)
        return channel
    token = secrets.token_hex(8)
    prompt, ready = f"password-{token}:", f"ready-{token}\n"
    inner = f"echo ready-{token}; {command}"
    channel.settimeout(CHANNEL_TIMEOUT)
    channel.exec_command(f"sudo -S -p {prompt} -- sh -c {_quote(inner)}")
    asked = False
    stderr = ""
    try:
        stdout = b""
        while not stdout.endswith(ready.encode()):
            if channel.recv_stderr_ready():
                stderr += channel.recv_stderr(4096).decode(errors="replace")
            if prompt in stderr:
                if asked or not password:
                    raise SudoError(
                        "the password was refused"
                        if asked
                        else "it needs a password, none is known"
                    )
                asked, stderr = True, stderr.replace(prompt, "", 1)
                channel.sendall(f"{password}\n".encode())
            elif channel.recv_ready():
                stdout += channel.recv(1)  # byte by byte: what follows belongs to the command
            elif channel.exit_status_ready() and not channel.recv_stderr_ready():
                raise SudoError(stderr.strip() or "it ended without a word")
            else:
                time.sleep(0.002)
    except BaseException:
        channel.close()
        raise
    channel.settimeout(None)
    return channel


def _live_transport(shell: SshShell) -> paramiko.Transport | None:
    shell.initialize()
    inner = shell._inner_shell
    assert inner is not None
    transport = inner._spur._get_ssh_transport()
    return transport if transport is not None and transport.is_active() else None


def _address(shell: SshShell) -> str:
    info = shell.connection_info
    return f"{info.address}:{info.port}"


def _quote(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"
