"""Which way to a node's engine to take."""

from __future__ import annotations

import socket

import paramiko
from lisa.node import Node
from lisa.util.shell import SshShell

from lisa_container.engine.dial.base import Dialer, socket_candidates
from lisa_container.engine.dial.local import choose_local
from lisa_container.engine.dial.relay import RelayDialer
from lisa_container.engine.dial.remote import StreamlocalDialer
from lisa_container.engine.dial.stdio import StdioDialer
from lisa_container.engine.naming import node_name
from lisa_container.engine.ssh import is_connected, open_command, open_streamlocal, transport_of
from lisa_container.errors import EngineError, EngineNotFoundError, SshLostError

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
    except (paramiko.SSHException, EOFError) as error:
        raise SshLostError(shell.connection_info.address, error) from error


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
    uid = int(_read(transport, "id -u", sudo=False, password=None))
    candidates = socket_candidates(uid)
    path, forbidden = _first_open(transport, candidates)
    if path:
        return StreamlocalDialer(shell, path)

    sudo = uid != 0
    password = shell.connection_info.password or None
    tests = "; ".join(f"[ ! -S {path} ] || echo {path}" for path in candidates)
    sockets = _read(transport, tests, sudo, password).split()
    if not sockets or (not sudo and not forbidden):
        raise EngineNotFoundError(
            f"no container engine answers on node '{node_name(node)}' (tried {', '.join(candidates)}). "
            "Install and start one, or let DockerAdvanced do it: node.tools[DockerAdvanced]."
        )
    if not forbidden:
        try:
            return RelayDialer(shell, sockets[0], uid, password)
        except EngineNotFoundError:
            raise
        except EngineError as error:
            node.log.debug(f"{error}; using dial-stdio")
    return StdioDialer(shell, sockets[0], sudo, password)


def _first_open(transport: paramiko.Transport, paths: list[str]) -> tuple[str, bool]:
    for path in paths:
        try:
            open_streamlocal(transport, path).close()
            return path, False
        except paramiko.ChannelException as error:
            if error.code == _PROHIBITED:
                return "", True
    return "", False


def _read(transport: paramiko.Transport, command: str, sudo: bool, password: str | None) -> str:
    with open_command(transport, command, sudo, password) as channel:
        channel.settimeout(30)
        return channel.makefile("rb").read().decode(errors="replace")
