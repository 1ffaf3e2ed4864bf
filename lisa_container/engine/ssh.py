"""Channels over the SSH connection that LISA opened to a node.

LISA logs in once (jump boxes, keys and passwords included) and keeps a paramiko transport inside
spur. A second login would take hundreds of milliseconds and could fail, so all traffic to the
engine uses further channels of that transport.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shlex
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import paramiko
from lisa import schema
from lisa.node import Node
from lisa.util.shell import SshShell, wait_tcp_port_ready

from lisa_container.engine.knock import knock
from lisa_container.engine.logs import hide_log_lines
from lisa_container.engine.waiting import SLICE
from lisa_container.errors import ConfigError, EngineError, SshLostError, SudoError
from lisa_container.naming import node_name

# Seconds for sshd to open a channel, or for sudo to answer. paramiko waits an hour for a channel.
CHANNEL_TIMEOUT = 30.0

# Seconds for a node to answer when the connection is opened again. LISA would wait for 300, since
# its machines may be booting, but this one was up before.
RECONNECT_TIMEOUT = 30

# Seconds for one more attempt afterwards, whose error tells the cause.
_KNOCK_TIMEOUT = 5.0

# Seconds without an answer of the node's kernel after which the connection counts as lost. Linux
# waits more than 15 minutes by default, in which a cut cable looks like a slow command.
_DEAD_AFTER = 120

# RFC 4254, section 5.1: SSH_OPEN_CONNECT_FAILED. OpenSSH uses it for all but a lack of permission.
_CONNECT_FAILED = 2

# Reads a command from the first line of stdin and runs it; the rest of stdin is the command's. The
# text has no quote, backslash or exclamation mark: all shells read it alike between single quotes.
_LOADER = 'IFS= read -r lisa_container_c; eval "$(printf %b "$lisa_container_c")"'
# Makes a terminal transparent for all bytes.
_RAW = "stty raw -echo; "
# sudo's message for `requiretty`; most translations keep the word.
_WANTS_TERMINAL = re.compile(r"\btty\b", re.IGNORECASE)
# Attribute of a transport on which sudo has asked for a terminal.
_NEEDS_TERMINAL = "_lisa_container_needs_terminal"

# Name of the shell's attribute that holds its `_ShellState`, so that the state ends with the shell.
_SLOT = "_lisa_container_ssh"


@dataclass
class _ShellState:
    """State of the connection of one LISA shell.

    Attributes:
        lock: held while the shell is opened, which only one thread may do at a time.
        opening: thread of LISA's login, which may go on after its time limit.
    """

    lock: threading.RLock = field(default_factory=threading.RLock)
    opening: threading.Thread | None = None


def _state_of(shell: SshShell) -> _ShellState:
    state: _ShellState = vars(shell).setdefault(_SLOT, _ShellState())
    return state


def ssh_shell_of(node: Node) -> SshShell:
    """Return the shell of a remote node that LISA reaches over SSH.

    Raises:
        ConfigError: the node runs inside another one, as a container does.
    """
    shell = node.shell
    if isinstance(shell, SshShell):
        return shell
    raise ConfigError(
        f"node '{node_name(node)}' is a container or the like ({type(shell).__name__}), and its "
        "engine cannot be reached: only a machine of LISA's can have containers. Give the node "
        "that it runs on instead: the case's parameter 'host', or 'node.parent'"
    )


def transport_of(shell: SshShell) -> paramiko.Transport:
    """Return the live paramiko transport of a LISA shell; connect again if LISA closed it.

    Args:
        shell: the shell of a remote node.

    Raises:
        SshLostError: the node cannot be reached any more.
    """
    with _state_of(shell).lock:
        try:
            transport = _current(shell) or _connect(shell)
        except Exception as error:
            raise SshLostError(address_of(shell), error) from error
        tune_tcp(transport)
        return transport


def is_connected(shell: SshShell) -> bool:
    """Return whether LISA's connection is open now, without connecting."""
    return _current(shell) is not None


def answers(shell: SshShell, seconds: float = 5.0) -> bool:
    """Return within seconds whether a node, or its first jump box, accepts connections now.

    Args:
        shell: shell of the node.
        seconds: time limit for the connection, and for the server's first byte.
    """
    # Checked even if a connection is open, since it still looks alive after the node vanished.
    first = way_to(shell)[0]
    try:
        knock(first.address, first.port, seconds)
    except OSError:
        return False
    return True


def way_to(shell: SshShell) -> list[schema.ConnectionInfo]:
    """Return the jump boxes on the way to a node, from the first on, and the node itself."""
    return [*shell._get_jump_boxes(), shell.connection_info]


def address_behind(info: schema.ConnectionInfo) -> tuple[str, int]:
    """Return address and port of a machine for the jump box before it, as LISA takes them."""
    address = getattr(info, "private_address", "") or info.address
    return address, getattr(info, "private_port", 0) or info.port


def address_of(shell: SshShell) -> str:
    """Return the node's address and port, for messages."""
    info = shell.connection_info
    return f"{info.address}:{info.port}"


def tune_tcp(transport: paramiko.Transport) -> None:
    """Set options of the TCP connection that paramiko leaves at the system's defaults.

    This disables Nagle's algorithm, which delays each first small packet by 40 ms. And a connection
    to a dead node ends after two minutes, instead of a quarter of an hour or never.
    """
    sock: Any = transport.sock
    while isinstance(sock, paramiko.Channel):  # with jump boxes, use the socket to the first one
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
        # The last three exist only on Linux. A closed socket refuses all; its next use will fail.
        if hasattr(socket, name):
            with contextlib.suppress(OSError):
                sock.setsockopt(level, getattr(socket, name), value)


def open_streamlocal(transport: paramiko.Transport, path: str) -> paramiko.Channel:
    """Open a channel to a unix socket on the node (`direct-streamlocal@openssh.com`).

    OpenSSH's PROTOCOL file, section 2.4, defines the request. Such a channel opens in about 1 ms
    and does not count against sshd's `MaxSessions`. paramiko has no public method for it, so this
    does what `Transport.open_channel` does, with the fields of this request.

    Args:
        transport: an authenticated transport.
        path: absolute path of the socket on the node.

    Raises:
        paramiko.ChannelException: refused: the socket does not exist, no process listens on it, the
            user may not open it, or sshd does not forward unix sockets. OpenSSH answers the same in
            all these cases.
        paramiko.SSHException: the connection ended, or no answer came in time.
    """
    state: Any = transport
    if not state.active:
        raise paramiko.SSHException("SSH session not active")
    # These attributes are internal, but have not changed since paramiko 1.0.
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
    with hide_refusals():
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
    transport: paramiko.Transport,
    command: str,
    sudo: bool = False,
    password: str | None = None,
    data: bytes | None = None,
) -> paramiko.Channel:
    """Start a shell command; return a session channel that carries its stdin and stdout.

    The user's login shell only gets a fixed line that means the same in all shells (fish and csh
    quote differently from sh); the command goes to `sh` by stdin. Output of the login shell before
    the command (from the user's profile) is dropped. A password is sent only when sudo asks for it,
    since otherwise it would reach the command's stdin.

    If sudo wants a terminal (`requiretty`), the command gets a raw one. Its stderr is then mixed
    with its stdout, and an end of file reaches it only if `data` is given.

    Args:
        transport: an authenticated transport.
        command: a command for `sh`.
        sudo: run the command as root.
        password: the user's password, for sudo.
        data: the command's whole stdin; None: the caller writes it to the channel.

    Raises:
        SudoError: sudo refused, or asked for a password that is unknown or wrong.
        EngineError: the login shell did not run the command.
        paramiko.SSHException: the session was refused (MaxSessions), or the connection ended.
    """
    attributes = vars(transport)
    try:
        terminal = sudo and attributes.get(_NEEDS_TERMINAL, False)
        return _open_command(transport, command, sudo, password, data, terminal)
    except SudoError as error:
        if terminal or not _WANTS_TERMINAL.search(str(error)):
            raise
    attributes[_NEEDS_TERMINAL] = True
    return _open_command(transport, command, sudo, password, data, terminal=True)


def read_command(
    transport: paramiko.Transport, command: str, sudo: bool = False, password: str | None = None
) -> str:
    """Run a shell command and return its stdout; see `open_command` for arguments and errors."""
    with open_command(transport, command, sudo, password, b"") as channel:
        channel.settimeout(CHANNEL_TIMEOUT)
        return channel.makefile("rb").read().decode(errors="replace").strip()


def _open_command(
    transport: paramiko.Transport,
    command: str,
    sudo: bool,
    password: str | None,
    data: bytes | None,
    terminal: bool,
) -> paramiko.Channel:
    token = secrets.token_hex(8)
    prompt, ready = f"password-{token}:", f"ready-{token}\n"
    words = ["sh", "-c", f"{_RAW if terminal else ''}echo ready-{token}; {_LOADER}"]
    if sudo:
        words = ["sudo", "-S", "-p", prompt, "--", *words]
    if terminal:
        words = ["sh", "-c", f'{_RAW}exec "$@"', "sh", *words]
        if data is not None:
            # A terminal in raw mode has no end of file.
            command = f"{{ {command}\n}}"
            if data:
                command = f"dd bs=1 count={len(data)} 2>/dev/null | {command}"
            else:
                command += " </dev/null"
    channel = _open_session(transport)
    try:
        channel.settimeout(CHANNEL_TIMEOUT)
        if terminal:
            channel.get_pty()
        channel.exec_command(shlex.join(words))
        _await_start(channel, prompt.encode(), ready.encode(), sudo, password)
        channel.sendall(_escaped(command))
        if data is not None:
            with contextlib.suppress(OSError):  # it ended early; its output has the reason
                channel.sendall(data)
                if not terminal:
                    channel.shutdown_write()
        channel.settimeout(None)
    except BaseException:
        channel.close()
        raise
    return channel


def _escaped(command: str) -> bytes:
    """Return a command as one line, with the escapes of printf's `%b`."""
    escape = {ord("\\"): b"\\\\", ord("\n"): b"\\n"}
    encoded = command.encode("utf-8", "surrogateescape")
    return (
        b"".join(
            escape.get(byte) or (b"%c" % byte if 0x20 <= byte < 0x7F else b"\\0%03o" % byte)
            for byte in encoded
        )
        + b"\n"
    )


def _open_session(transport: paramiko.Transport) -> paramiko.Channel:
    started = time.monotonic()
    try:
        with hide_refusals():
            return transport.open_session(timeout=CHANNEL_TIMEOUT)
    except paramiko.ChannelException:
        raise
    except paramiko.SSHException as error:
        if transport.is_active() and time.monotonic() - started < CHANNEL_TIMEOUT:
            raise _refusal(error) from error
        raise


def _refusal(error: BaseException | None) -> paramiko.ChannelException:
    """Return the reason of a refused channel.

    paramiko keeps one reason for a transport, so a second thread that is refused finds none.
    """
    if isinstance(error, paramiko.ChannelException):
        return error
    return paramiko.ChannelException(_CONNECT_FAILED, "Connect failed")


def hide_refusals() -> contextlib.AbstractContextManager[None]:
    """Keep paramiko from logging a refused channel as an error, since the caller handles it."""
    return hide_log_lines("paramiko.transport", "open FAILED")


def _await_start(
    channel: paramiko.Channel, prompt: bytes, ready: bytes, sudo: bool, password: str | None
) -> None:
    stdout, stderr, asked = b"", b"", False
    deadline = time.monotonic() + CHANNEL_TIMEOUT
    while not stdout.endswith(ready):
        # Read this before the output: no output follows an end of file.
        ended = channel.eof_received or channel.closed
        if channel.recv_ready():
            stdout += channel.recv(1)  # byte by byte, since the rest belongs to the command
        elif channel.recv_stderr_ready():
            stderr += channel.recv_stderr(4096)
        elif prompt in stderr or prompt in stdout:  # stdout with a terminal
            if asked or not password:
                raise SudoError(
                    "the password was refused" if asked else "it needs a password, none is known"
                )
            asked, stderr, stdout = True, stderr.replace(prompt, b"", 1), b""
            channel.sendall(f"{password}\n".encode())
        elif ended or time.monotonic() > deadline:
            if not channel.get_transport().is_active():
                raise paramiko.SSHException("the connection ended")
            reason = stderr.replace(prompt, b"").decode(errors="replace").strip()
            if not reason and sudo:  # a terminal has no stderr
                reason = stdout.replace(prompt, b"").decode(errors="replace").strip()
            reason = reason or ("it ended without a message" if ended else "it does not answer")
            if sudo:
                raise SudoError(reason)
            raise EngineError(f"the login shell of the node's user does not run commands: {reason}")
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
        shell.close()  # drops the lost connection
    if not shell._get_jump_boxes():
        address, port = shell.connection_info.address, shell.connection_info.port
        if not wait_tcp_port_ready(address, port, timeout=RECONNECT_TIMEOUT)[0]:
            knock(address, port, _KNOCK_TIMEOUT)  # raises the cause
    for _ in range(10):
        _initialize(shell)
        inner = shell._inner_shell
        if inner is not None:
            break
        time.sleep(0.1)  # LISA has just closed it in another thread
    assert inner is not None
    transport: paramiko.Transport | None = inner._spur._get_ssh_transport()
    if transport is None or not transport.is_active():
        raise ConnectionError("the connection closed at once")
    _disable_nagle_of_sshd(transport)
    return transport


def _initialize(shell: SshShell) -> None:
    """Open a LISA shell with a time limit; LISA tries for 300 seconds to reach a lost node."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            shell.initialize()
        except BaseException as error:  # raised in the waiting thread
            errors.append(error)

    state = _state_of(shell)
    opening = state.opening
    if opening is None or not opening.is_alive():
        opening = threading.Thread(target=work, name="ssh-open", daemon=True)
        try:
            opening.start()
        except RuntimeError:  # at the end of a process, since Python 3.12
            return shell.initialize()
        state.opening = opening
    deadline = time.monotonic() + RECONNECT_TIMEOUT
    while opening.is_alive():
        opening.join(SLICE)
        if time.monotonic() > deadline:
            raise ConnectionError(f"no login in {RECONNECT_TIMEOUT} seconds")
    if errors:
        raise errors[0]


def _disable_nagle_of_sshd(transport: paramiko.Transport) -> None:
    """Start a command, so that sshd too disables Nagle's algorithm on the connection.

    sshd does so only when a session starts a command (OpenSSH, packet.c:
    `ssh_packet_set_interactive`). On a connection with streams alone, each small answer would wait
    40 ms for an acknowledgement.
    """
    with contextlib.suppress(EngineError, paramiko.SSHException):
        open_command(transport, ":").close()
