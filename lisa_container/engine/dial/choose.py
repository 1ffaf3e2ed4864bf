"""Which way to a node's engine to take."""

from __future__ import annotations

import shlex
import socket

import paramiko
from lisa.node import Node
from lisa.util.shell import SshShell

from lisa_container.engine.dial.base import Dialer, no_engine_at, socket_candidates
from lisa_container.engine.dial.local import choose_local
from lisa_container.engine.dial.relay import relay_on_node
from lisa_container.engine.dial.remote import StreamlocalDialer
from lisa_container.engine.dial.stdio import StdioDialer
from lisa_container.engine.naming import node_name
from lisa_container.engine.ssh import (
    CHANNEL_TIMEOUT,
    address_of,
    is_connected,
    open_streamlocal,
    read_command,
    transport_of,
)
from lisa_container.errors import EngineError, EngineNotFoundError, SshLostError, SudoError

# OpenSSH's reason when forwarding is switched off (AllowStreamLocalForwarding, restrict).
_PROHIBITED = 1


def choose_dialer(node: Node) -> Dialer:
    """The best way to the engine of a node, tried in this order: the socket itself, a relay under
    sudo, `docker system dial-stdio`.

    Args:
        node: a local or remote LISA node.

    Raises:
        EngineNotFoundError: no engine answers on the node.
        SudoError: an engine is there, but only for root, and sudo refused.
        SshLostError: the node cannot be reached.
    """
    node.initialize()
    shell = node.shell
    if not shell.is_remote:
        return choose_local()
    assert isinstance(shell, SshShell), f"cannot reach an engine through {type(shell).__name__}"
    try:
        return _choose_remote(shell, node)
    except EngineError:
        raise
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise SshLostError(address_of(shell), error) from error


def is_reachable(node: Node) -> bool:
    """Whether a node would answer at once; LISA itself would wait five minutes for a dead one."""
    shell = node.shell
    if not isinstance(shell, SshShell) or is_connected(shell) or shell._get_jump_boxes():
        return True
    info = shell.connection_info
    try:
        socket.create_connection((info.address, info.port), timeout=3).close()
    except OSError:
        return False
    return True


def _choose_remote(shell: SshShell, node: Node) -> Dialer:
    transport = transport_of(shell)
    uid = int(read_command(transport, "id -u"))
    candidates = socket_candidates(uid)
    path, forbidden = _first_open(transport, candidates)
    if path:
        return StreamlocalDialer(shell, path)

    name = f"node '{node_name(node)}'"
    password = shell.connection_info.password or None
    refusals: list[EngineNotFoundError] = []
    if uid or forbidden:
        for path, is_open in _sockets(shell, candidates, uid, name):
            try:
                if forbidden:
                    return _stdio(shell, path, not is_open, password)
                return relay_on_node(shell, path, uid, password)
            except EngineNotFoundError as error:
                refusals.append(error)
            except (SudoError, SshLostError):
                raise
            except EngineError as error:
                node.log.debug(f"{error}; using dial-stdio")
                return _stdio(shell, path, True, password)
    if refusals:
        raise refusals[0]
    raise no_engine_at(" or ".join(candidates), name, "nobody listens there")


def _first_open(transport: paramiko.Transport, paths: list[str]) -> tuple[str, bool]:
    """The first socket sshd opens for the user, and whether sshd opens none at all."""
    for path in paths:
        try:
            open_streamlocal(transport, path).close()
            return path, False
        except paramiko.ChannelException as error:
            if error.code == _PROHIBITED:
                return "", True
    return "", False


def _sockets(shell: SshShell, candidates: list[str], uid: int, name: str) -> list[tuple[str, bool]]:
    """The sockets that exist, each with whether the user may open it himself."""
    words = " ".join(shlex.quote(path) for path in candidates)
    script = (
        f"for path in {words}; do if [ -w $path ]; then echo open $path; "
        "elif [ -S $path ]; then echo shut $path; fi; done"
    )
    transport = transport_of(shell)
    found = read_command(transport, script)
    if not found and uid:
        # podman's folder cannot even be looked into without root.
        try:
            password = shell.connection_info.password or None
            found = read_command(transport, script, True, password).replace("open", "shut")
        except SudoError as error:
            said = f"nobody listens where the user can look, and {error}"
            raise no_engine_at(" or ".join(candidates), name, said) from error
    return [(line.split()[1], line.startswith("open")) for line in found.splitlines()]


def _stdio(shell: SshShell, path: str, sudo: bool, password: str | None) -> StdioDialer:
    dialer = StdioDialer(shell, path, sudo, password)
    stream = dialer.dial()  # it opens whether an engine is there or not: ask
    try:
        stream.settimeout(CHANNEL_TIMEOUT)
        stream.sendall(b"GET /_ping HTTP/1.1\r\nHost: engine\r\n\r\n")
        if not stream.recv(1):
            raise no_engine_at(path, address_of(shell), "the stream to it ends at once")
    finally:
        stream.close()
    return dialer
