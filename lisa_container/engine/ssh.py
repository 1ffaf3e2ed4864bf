"""The SSH connection LISA already opened to a node, and what is needed of it here.

LISA logs in once (jump boxes, keys and passwords included) and keeps a paramiko transport inside
spur. A second login would cost hundreds of milliseconds and could fail where the first did not, so
everything the engine needs travels over that same transport as further channels.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import shlex
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import paramiko
from lisa import schema
from lisa.util.shell import SshShell, wait_tcp_port_ready

from lisa_container.engine.waiting import SLICE
from lisa_container.errors import EngineError, SshLostError, SudoError

# Time for a channel to be granted by sshd, or for sudo to answer, in seconds. paramiko's own
# default for the former is one hour.
CHANNEL_TIMEOUT = 30.0

# Seconds a node gets to answer when the connection has to be opened anew. LISA itself would wait
# for 300: it expects machines that boot, while we know that this one was up.
RECONNECT_TIMEOUT = 30

# Seconds without any answer of the node's kernel after which the connection counts as lost. The
# system's own default is above 15 minutes, in which a cut cable looks like a slow command.
_DEAD_AFTER = 120

# RFC 4254, section 5.1: SSH_OPEN_CONNECT_FAILED. OpenSSH gives it for all but a lack of permission.
_CONNECT_FAILED = 2

_locks: weakref.WeakKeyDictionary[SshShell, threading.RLock] = weakref.WeakKeyDictionary()
_locks_lock = threading.Lock()


def transport_of(shell: SshShell) -> paramiko.Transport:
    """The live paramiko transport of a LISA shell, connecting again where LISA had closed it.

    Args:
        shell: the shell of a remote node.

    Raises:
        SshLostError: the node cannot be reached any more.
    """
    with _locks_lock:
        lock = _locks.setdefault(shell, threading.RLock())
    # LISA's shell may be opened by one thread at a time only.
    with lock:
        try:
            transport = _current(shell) or _connect(shell)
        except Exception as error:
            raise SshLostError(address_of(shell), error) from error
        tune(transport)
        return transport


def is_connected(shell: SshShell) -> bool:
    """Whether LISA's connection is open now. Never connects."""
    return _current(shell) is not None


def answers(shell: SshShell) -> bool:
    """Whether a node can be connected to now, within seconds; behind jump boxes, the first one."""
    # Also where a connection is open: a node that vanished leaves one that looks alive.
    first = [*shell._get_jump_boxes(), shell.connection_info][0]
    try:
        with socket.create_connection((first.address, first.port), timeout=5) as connection:
            # A server begins to talk by itself (RFC 4253, section 4.2); what stands in for one that
            # is not there, as a proxy or a load balancer may, does not.
            return bool(connection.recv(1))
    except OSError:
        return False


def check_login(info: schema.ConnectionInfo) -> None:
    """Log in once and out again. LISA itself would try wrong credentials for five minutes.

    Args:
        info: of a node that is reached without jump boxes.

    Raises:
        SshLostError: the node does not answer, or refuses the login.
    """
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.MissingHostKeyPolicy())  # as LISA does
    try:
        client.connect(
            info.address,
            info.port,
            info.username,
            info.password or None,
            key_filename=info.private_key_file or None,
            timeout=CHANNEL_TIMEOUT,
            banner_timeout=CHANNEL_TIMEOUT,
            auth_timeout=CHANNEL_TIMEOUT,
        )
    except (paramiko.SSHException, OSError, ValueError) as error:
        raise SshLostError(f"{info.address}:{info.port}", error) from error
    finally:
        client.close()


def address_of(shell: SshShell) -> str:
    """What to call the other end in a message."""
    info = shell.connection_info
    return f"{info.address}:{info.port}"


def tune(transport: paramiko.Transport) -> None:
    """Set the options of the TCP connection that paramiko leaves at the system's defaults.

    Nagle's algorithm goes off: it costs 40 ms for each first small packet. A connection whose
    other end is gone ends after two minutes instead of a quarter of an hour or never.
    """
    sock: Any = transport.sock
    while isinstance(sock, paramiko.Channel):  # through jump boxes: down to the socket of the first
        sock = sock.get_transport().sock
    if not isinstance(sock, socket.socket) or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    options = [
        (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", _DEAD_AFTER // 4),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", _DEAD_AFTER // 4),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", _DEAD_AFTER * 1000),
    ]
    for level, name, value in options:
        # The last three are Linux's; a closed socket takes none, and its user will find out.
        if hasattr(socket, name):
            with contextlib.suppress(OSError):
                sock.setsockopt(level, getattr(socket, name), value)


def open_streamlocal(transport: paramiko.Transport, path: str) -> paramiko.Channel:
    """Open a channel to a unix socket on the node (`direct-streamlocal@openssh.com`).

    OpenSSH's PROTOCOL file, section 2.4, defines the request. Such a channel opens in about 1 ms
    and does not count against sshd's `MaxSessions`. paramiko has no public call for it, so this
    does what `Transport.open_channel` does, with this request's own fields.

    Args:
        transport: an authenticated transport.
        path: absolute path of the socket on the node.

    Raises:
        paramiko.ChannelException: refused: the socket does not exist, nobody listens, the user may
            not open it, or sshd forwards nothing. OpenSSH gives the same answer to all of them.
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
    with _quiet_refusal():
        state._send_user_message(message)
        deadline = time.monotonic() + CHANNEL_TIMEOUT
        while not event.wait(0.1):
            if not state.active or time.monotonic() > deadline:
                break
    if not state.active:
        raise state.get_exception() or paramiko.SSHException("SSH session not active")
    if not event.is_set():
        raise paramiko.SSHException("timeout opening channel")
    if state._channels.get(channel_id) is None:
        raise _refusal(state.get_exception())
    return channel  # type: ignore[no-any-return]


def open_command(
    transport: paramiko.Transport, command: str, sudo: bool = False, password: str | None = None
) -> paramiko.Channel:
    """Start a shell command in a session channel whose stdin and stdout are then the command's own.

    What the login shell prints before (a profile that greets) is dropped. With sudo, a password is
    sent only after sudo asked for it: sent blindly it would reach the command's stdin wherever sudo
    did not need it.

    Args:
        transport: an authenticated transport.
        command: for `sh`.
        sudo: run it as root.
        password: the user's password, where sudo may ask for one.

    Raises:
        SudoError: sudo refused, or asked for a password and none (or a wrong one) is known.
        EngineError: the login shell did not run it.
        paramiko.SSHException: the session was refused (MaxSessions) or the connection ended.
    """
    token = secrets.token_hex(8)
    prompt, ready = f"password-{token}:", f"ready-{token}\n"
    words = ["sh", "-c", f"echo ready-{token}; {command}"]
    if sudo:
        words = ["sudo", "-S", "-p", prompt, "--", *words]
    channel = _open_session(transport)
    try:
        channel.settimeout(CHANNEL_TIMEOUT)
        channel.exec_command(shlex.join(words))
        _await_start(channel, prompt.encode(), ready.encode(), sudo, password)
        channel.settimeout(None)
    except BaseException:
        channel.close()
        raise
    return channel


def read_command(
    transport: paramiko.Transport, command: str, sudo: bool = False, password: str | None = None
) -> str:
    """What a shell command prints on stdout; for its arguments and errors see `open_command`."""
    with open_command(transport, command, sudo, password) as channel:
        channel.settimeout(CHANNEL_TIMEOUT)
        return channel.makefile("rb").read().decode(errors="replace").strip()


def _open_session(transport: paramiko.Transport) -> paramiko.Channel:
    started = time.monotonic()
    try:
        with _quiet_refusal():
            return transport.open_session(timeout=CHANNEL_TIMEOUT)
    except paramiko.ChannelException:
        raise
    except paramiko.SSHException as error:
        if transport.is_active() and time.monotonic() - started < CHANNEL_TIMEOUT:
            raise _refusal(error) from error
        raise


def _refusal(error: BaseException | None) -> paramiko.ChannelException:
    """paramiko keeps one reason for a transport: who asks second, in another thread, gets none."""
    if isinstance(error, paramiko.ChannelException):
        return error
    return paramiko.ChannelException(_CONNECT_FAILED, "Connect failed")


@contextlib.contextmanager
def _quiet_refusal() -> Iterator[None]:
    """paramiko logs a refused channel as an error; to us it is an answer, and raised as well."""

    def is_other(record: logging.LogRecord) -> bool:
        return "open FAILED" not in record.getMessage()

    logger = logging.getLogger("paramiko.transport")
    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


def _await_start(
    channel: paramiko.Channel, prompt: bytes, ready: bytes, sudo: bool, password: str | None
) -> None:
    stdout, stderr, asked = b"", b"", False
    deadline = time.monotonic() + CHANNEL_TIMEOUT
    while not stdout.endswith(ready):
        # Before looking for output: none comes after it, while the exit status may come earlier.
        ended = channel.eof_received or channel.closed
        if channel.recv_ready():
            stdout += channel.recv(1)  # byte by byte: what follows belongs to the command
        elif channel.recv_stderr_ready():
            stderr += channel.recv_stderr(4096)
        elif prompt in stderr:
            if asked or not password:
                raise SudoError(
                    "the password was refused" if asked else "it needs a password, none is known"
                )
            asked, stderr = True, stderr.replace(prompt, b"", 1)
            channel.sendall(f"{password}\n".encode())
        elif ended or time.monotonic() > deadline:
            if not channel.get_transport().is_active():
                raise paramiko.SSHException("the connection ended")
            said = stderr.replace(prompt, b"").decode(errors="replace").strip()
            said = said or ("it ended without a word" if ended else "it does not answer")
            if sudo:
                raise SudoError(said)
            raise EngineError(f"the login shell of the node's user does not run commands: {said}")
        else:
            time.sleep(0.002)


def _current(shell: SshShell) -> paramiko.Transport | None:
    inner = shell._inner_shell
    client = inner._spur._client if inner is not None else None
    transport: paramiko.Transport | None = client.get_transport() if client is not None else None
    return transport if transport is not None and transport.is_active() else None


def _connect(shell: SshShell) -> paramiko.Transport:
    inner = shell._inner_shell
    if inner is not None and inner._spur._client is not None:
        shell.close()  # what is left of a lost connection
    if not shell._get_jump_boxes():
        address, port = shell.connection_info.address, shell.connection_info.port
        ready, code = wait_tcp_port_ready(address, port, timeout=RECONNECT_TIMEOUT)
        if not ready:
            raise ConnectionError(f"port {port} does not answer, error {code}")
    for _ in range(10):
        _initialize(shell)
        inner = shell._inner_shell
        if inner is not None:
            break
        time.sleep(0.1)  # LISA closed it just now, in another thread
    assert inner is not None
    transport: paramiko.Transport | None = inner._spur._get_ssh_transport()
    if transport is None or not transport.is_active():
        raise ConnectionError("the connection closed at once")
    _hurry(transport)
    return transport


# LISA's opening of a shell that is still under way, though nobody waits for it any more.
_openings: weakref.WeakKeyDictionary[SshShell, threading.Thread] = weakref.WeakKeyDictionary()


def _initialize(shell: SshShell) -> None:
    """LISA's own, which tries for 300 seconds where the node vanishes just then."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            shell.initialize()
        except BaseException as error:  # raised by who waits
            errors.append(error)

    opening = _openings.get(shell)
    if opening is None or not opening.is_alive():
        opening = threading.Thread(target=work, name="ssh-open", daemon=True)
        try:
            opening.start()
        except RuntimeError:  # at the end of a process, from Python 3.12 on
            return shell.initialize()
        _openings[shell] = opening
    deadline = time.monotonic() + RECONNECT_TIMEOUT
    while opening.is_alive():
        opening.join(SLICE)
        if time.monotonic() > deadline:
            raise ConnectionError(f"no login in {RECONNECT_TIMEOUT} seconds")
    if errors:
        raise errors[0]


def _hurry(transport: paramiko.Transport) -> None:
    """Have sshd, too, send small packets at once.

    It turns Nagle's algorithm off only when a session starts a command (OpenSSH, packet.c:
    `ssh_packet_set_interactive`), which LISA's first does. On a connection that carries streams
    alone each small answer would wait 40 ms for an acknowledgement.
    """
    with contextlib.suppress(EngineError, paramiko.SSHException):
        open_command(transport, ":").close()
