"""Connect to a node, or report within seconds why that fails. LISA itself waits for minutes.

LISA waits 300 seconds, twice, for an address that does not answer and for a login that is refused,
since its machines may be booting.
"""

from __future__ import annotations

import contextlib
import logging
import random
import re
import time
from pathlib import Path

import paramiko
from lisa import schema
from lisa.node import Node, RemoteNode
from lisa.util import LisaException
from lisa.util.shell import SshShell

from lisa_container.addresses import Address
from lisa_container.engine.knock import explain, knock
from lisa_container.engine.ssh import address_behind, way_to
from lisa_container.errors import UnreachableError
from lisa_container.masking import expose
from lisa_container.naming import node_name

PATIENCE = 10.0
"""Seconds that a node has by default to accept the login."""

# Seconds of rest before the next attempt, and for one step of the check.
_REST = 1.0
_STEP = 5.0
# Words of paramiko where the SSH server closed the connection at once.
_NO_BANNER = "Error reading SSH protocol banner"
# Reason of a refused channel in paramiko's log; paramiko's own words for its code follow.
_REFUSAL = re.compile(r"open FAILED: (.*): ")


class _DroppedError(UnreachableError):
    """The SSH server closed the connection before the login.

    OpenSSH does so by chance where more than ten logins begin at once (MaxStartups of sshd_config).
    """


def require_login(shell: SshShell, seconds: float = PATIENCE) -> None:
    """Check that a node, and each jump box on the way to it, answers and accepts the login.

    Args:
        shell: LISA's shell of the node, which need not be connected.
        seconds: time limit; above `PATIENCE` the check is repeated, for a node that still boots.
            A login that the server drops is repeated in any case.

    Raises:
        UnreachableError: one of them does not answer, or refuses the login.
    """
    deadline = time.monotonic() + max(seconds, PATIENCE)
    while True:
        try:
            return check_login(shell)
        except UnreachableError as error:
            is_repeated = seconds > PATIENCE or isinstance(error, _DroppedError)
            if not is_repeated or time.monotonic() + _REST > deadline:
                raise
        time.sleep(random.uniform(_REST / 2, _REST))  # others may be repeating theirs, too


def check_login(shell: SshShell, seconds: float = PATIENCE) -> None:
    """Log in once on each machine of the way, as LISA does, and out again.

    LISA would try wrong credentials for five minutes.

    Args:
        shell: LISA's shell of the node, which need not be connected.
        seconds: time limit; each step has at least five.

    Raises:
        UnreachableError: see `require_login`.
    """
    deadline = time.monotonic() + seconds
    way = way_to(shell)
    try:
        knock(way[0].address, way[0].port, _STEP)
    except OSError as error:
        raise explain(way[0].address, way[0].port, error) from error
    with contextlib.ExitStack() as stack:
        clients: list[paramiko.SSHClient] = []
        for number, info in enumerate(way):
            left = max(_STEP, deadline - time.monotonic())
            stream = _dial_behind(clients[-1], way[number - 1], info, left) if clients else None
            clients.append(stack.enter_context(_connect(info, stream, left)))


def _connect(
    info: schema.ConnectionInfo, stream: paramiko.Channel | None, seconds: float
) -> paramiko.SSHClient:
    expose(info.username, info.private_key_file)
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.MissingHostKeyPolicy())  # as LISA does
    try:
        client.connect(
            info.address,
            info.port,
            info.username,
            info.password or None,
            key_filename=info.private_key_file or None,
            timeout=seconds,
            banner_timeout=seconds,
            auth_timeout=seconds,
            sock=stream,
        )
    except (paramiko.SSHException, EOFError, OSError, ValueError) as error:
        client.close()
        kind = _DroppedError if _NO_BANNER in str(error) else UnreachableError
        raise kind(
            f"user '{info.username}' cannot log in at {info.address}:{info.port}: {error}. Check "
            "the user, and the key or password"
        ) from error
    return client


def _dial_behind(
    client: paramiko.SSHClient,
    box: schema.ConnectionInfo,
    info: schema.ConnectionInfo,
    seconds: float,
) -> paramiko.Channel:
    transport = client.get_transport()
    assert transport is not None
    address, port = address_behind(info)
    refusals = _Refusals()
    # A logger of its own: paramiko gives the reason of a refusal to the log alone.
    transport.logger = logging.Logger("way", logging.ERROR)
    transport.logger.addHandler(refusals)
    try:
        here = ("127.0.0.1", 0)
        return transport.open_channel("direct-tcpip", (address, port), here, timeout=seconds)
    except (paramiko.SSHException, EOFError, OSError) as error:
        way = f" through the jump box {box.address}:{box.port}"
        cause: Exception = error
        if isinstance(error, paramiko.ChannelException) and refusals.last:
            cause = paramiko.ChannelException(error.code, refusals.last)
        raise explain(address, port, cause, way) from error


class _Refusals(logging.Handler):
    """Handler that keeps the reason of the last channel that an SSH server refused."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the reason, if the line has one."""
        match = _REFUSAL.search(record.getMessage())
        if match:
            self.last = match[1]


def node_of(runbook: schema.Node, platform: schema.Platform | None = None) -> Node:
    """Return a LISA node of a runbook's entry, not connected yet.

    Args:
        runbook: the entry of the runbook.
        platform: its user, password and key are the defaults, as with LISA's platform `ready`.

    Raises:
        LisaException: the entry has a mistake.
    """
    node = Node.create(-1, runbook, is_test_target=False, logger_name="node")
    if isinstance(node, RemoteNode):
        node.set_connection_info_by_runbook(
            default_username=platform.admin_username if platform else "",
            default_password=platform.admin_password if platform else "",
            default_private_key_file=platform.admin_private_key_file if platform else "",
        )
    return node


def remote_node(address: Address, key: Path | None, password: str) -> Node:
    """Return a LISA node for an address, not connected yet.

    Args:
        address: user, host and port.
        key: private key of the user; None: there is only the password.
        password: password of the user; empty: there is only the key.

    Raises:
        LisaException: there is neither a key nor a password.
    """
    runbook = schema.RemoteNode(
        address=address.host,
        public_address=address.host,
        port=address.port,
        public_port=address.port,
        username=address.user,
        password=password,
        private_key_file=str(key or ""),
    )
    return node_of(runbook)


def connect(node: Node) -> None:
    """Connect to a node and let LISA examine it.

    Args:
        node: node from `node_of` or `remote_node`.

    Raises:
        UnreachableError: see `require_login`.
        LisaException: LISA cannot use the node.
    """
    if isinstance(node.shell, SshShell):
        require_login(node.shell)
    try:
        node.initialize()
    except LisaException:
        raise
    except Exception as error:  # any of paramiko's or spur's
        raise LisaException(f"cannot connect to node '{node_name(node)}': {error}") from error
