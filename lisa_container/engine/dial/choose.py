"""Choice of the dialer for a node's engine."""

from __future__ import annotations

import shlex

import paramiko
from lisa.node import Node
from lisa.util.shell import SshShell

from lisa_container.engine.dial.base import Dialer, no_engine_at, socket_candidates
from lisa_container.engine.dial.local import choose_local
from lisa_container.engine.dial.relay import relay_on_node
from lisa_container.engine.dial.remote import StreamlocalDialer
from lisa_container.engine.dial.stdio import StdioDialer
from lisa_container.engine.lease_id import lease_id
from lisa_container.engine.ssh import (
    CHANNEL_TIMEOUT,
    address_of,
    answers,
    open_streamlocal,
    read_command,
    ssh_shell_of,
    transport_of,
)
from lisa_container.errors import EngineError, EngineNotFoundError, SshLostError, SudoError
from lisa_container.escaping import printable
from lisa_container.naming import node_name


def choose_dialer(node: Node) -> Dialer:
    """Return the best dialer for the engine of a node.

    These are tried in order: the socket itself, a relay under sudo, `docker system dial-stdio`.

    Args:
        node: a local or remote LISA node.

    Raises:
        ConfigError: the node is a container.
        EngineNotFoundError: no engine answers on the node.
        SudoError: only root may use the engine, and sudo refused.
        SshLostError: the node cannot be reached.
    """
    node.initialize()
    if not node.shell.is_remote:
        return choose_local(lambda: lease_id(node))
    shell = ssh_shell_of(node)
    is_last = False
    while True:
        try:
            return _choose_remote(shell, node)
        except EngineError:
            raise
        except (paramiko.SSHException, EOFError, OSError) as error:
            # LISA closes the connection after its set-up and after each case.
            if is_last or not answers(shell):
                raise SshLostError(address_of(shell), error) from error
        is_last = True


def is_reachable(node: Node) -> bool:
    """Return within seconds whether a node answers; LISA would wait five minutes for a dead one."""
    shell = node.shell
    return not isinstance(shell, SshShell) or answers(shell)


def _choose_remote(shell: SshShell, node: Node) -> Dialer:
    transport = transport_of(shell)
    uid = int(read_command(transport, "id -u"))
    candidates = socket_candidates(uid)
    name = f"node '{node_name(node)}'"
    password = shell.connection_info.password or None
    refusals: list[EngineNotFoundError] = []
    for path, is_open in _sockets(transport, candidates, uid, password, name):
        try:
            if not is_open:
                return _with_sudo(shell, node, path, uid, password)
            if _opens(transport, path):
                return StreamlocalDialer(shell, path)
            # No process listens, or sshd does not forward sockets: its answer does not tell which.
            return _stdio(shell, path, sudo=False, password=None)
        except EngineNotFoundError as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]
    raise no_engine_at(" or ".join(candidates), name, "no process listens there")


def _sockets(
    transport: paramiko.Transport,
    candidates: list[str],
    uid: int,
    password: str | None,
    name: str,
) -> list[tuple[str, bool]]:
    """Return the existing sockets and whether the user may open each; those he may come first."""
    words = " ".join(shlex.quote(path) for path in candidates)
    script = (
        f"for path in {words}; do if [ ! -S $path ]; then continue; "
        "elif [ -w $path ]; then echo open $path; else echo shut $path; fi; done"
    )
    output = read_command(transport, script)
    if not output and uid:
        # Only root can look into podman's folder.
        try:
            output = read_command(transport, script, True, password).replace("open", "shut")
        except SudoError as error:
            reason = f"no process listens where the user can look, and {error}"
            raise no_engine_at(" or ".join(candidates), name, reason) from error
    sockets = [(line.split()[1], line.startswith("open")) for line in output.splitlines()]
    return sorted(sockets, key=lambda item: not item[1])


def _opens(transport: paramiko.Transport, path: str) -> bool:
    try:
        open_streamlocal(transport, path).close()
        return True
    except paramiko.ChannelException:
        return False


def _with_sudo(shell: SshShell, node: Node, path: str, uid: int, password: str | None) -> Dialer:
    try:
        return relay_on_node(shell, path, uid, password, lease=lambda: lease_id(node))
    except (EngineNotFoundError, SudoError, SshLostError):
        raise
    except EngineError as error:
        node.log.debug(f"{printable(error)}; using dial-stdio")
        return _stdio(shell, path, True, password)


def _stdio(shell: SshShell, path: str, sudo: bool, password: str | None) -> StdioDialer:
    dialer = StdioDialer(shell, path, sudo, password)
    stream = dialer.dial()  # this succeeds without an engine too, so ping it
    try:
        stream.settimeout(CHANNEL_TIMEOUT)
        stream.sendall(b"GET /_ping HTTP/1.1\r\nHost: engine\r\n\r\n")
        if not stream.recv(1):
            raise no_engine_at(path, address_of(shell), "the stream to it ended at once")
    finally:
        stream.close()
    return dialer
