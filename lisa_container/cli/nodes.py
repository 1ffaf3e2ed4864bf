"""The nodes that a command line names, connected."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
from lisa import development, schema
from lisa.node import Node, RemoteNode
from lisa.parameter_parser.runbook import RunbookBuilder
from lisa.util import LisaException, constants
from lisa.util.logger import init_logger, set_console_level, uninit_logger

from lisa_container.cli.arguments import PASSWORD_VARIABLE
from lisa_container.engine.client import Engine
from lisa_container.errors import ConfigError, SshLostError

# Seconds a node may take to accept a connection. LISA itself would wait for 300.
_TIMEOUT = 10.0
_SSH_PORT = 22


@contextlib.contextmanager
def connected_nodes(arguments: argparse.Namespace) -> Iterator[list[Node]]:
    """Connect to the nodes, and close them at the end.

    Args:
        arguments: of the command line.

    Raises:
        ConfigError: the command line or the runbook names no node that can be connected to.
        SshLostError: a node does not answer.
        LisaException: what LISA says of the runbook or of a login.
    """
    with tempfile.TemporaryDirectory(prefix="lisa_container_cli_") as folder:
        # A run of LISA has these; a node needs them for its log.
        constants.RUN_ID = "lisa-container"
        constants.RUN_LOGIC_PATH = Path("lisa-container")
        constants.RUN_LOCAL_LOG_PATH = constants.RUN_LOCAL_WORKING_PATH = Path(folder)
        init_logger()
        uninit_logger()  # standard output is for the answer
        set_console_level(logging.DEBUG if arguments.debug else logging.CRITICAL)
        nodes: list[Node] = []
        try:
            for node in _nodes(arguments):
                nodes.append(node)
                _connect(node)
            yield nodes
        finally:
            for node in nodes:
                Engine.forget(node)
                node.close()


def _nodes(arguments: argparse.Namespace) -> Iterator[Node]:
    if arguments.runbook:
        yield from _of_runbook(arguments.runbook, arguments.variables)
    elif arguments.target == "local":
        yield _create(schema.LocalNode(name="local"))
    else:
        yield _of_address(arguments)


def _of_address(arguments: argparse.Namespace) -> Node:
    user, at, address = arguments.target.rpartition("@")
    host, _, port = address.partition(":")
    port = port or str(_SSH_PORT)
    if not at or not user or not host or not port.isdigit():
        raise ConfigError(
            f"target: given '{arguments.target}'; legal: 'user@host[:port]' or 'local'"
        )
    password = os.environ.get(PASSWORD_VARIABLE, "")
    if arguments.ask_password:
        password = getpass.getpass(f"Password of {arguments.target}: ")
    if not password and not arguments.identity:
        raise ConfigError(
            f"target '{arguments.target}': no way to log in. Give the user's private key with "
            f"--identity, or a password with --ask-password or in {PASSWORD_VARIABLE}"
        )
    runbook = schema.RemoteNode(
        address=host,
        public_address=host,
        port=int(port),
        public_port=int(port),
        username=user,
        password=password,
        private_key_file=str(arguments.identity or ""),
    )
    return _create(runbook)


def _of_runbook(path: Path, variables: list[str]) -> Iterator[Node]:
    if not path.is_file():
        raise ConfigError(f"runbook: there is no file '{path}'")
    runbook = RunbookBuilder.from_path(path, variables).resolve()
    development.load_development_settings(runbook.dev)
    platform = runbook.platform[0] if runbook.platform else schema.Platform()
    environments = runbook.environment.environments if runbook.environment else []
    found = [node for environment in environments for node in environment.nodes]
    if not found:
        raise ConfigError(
            f"runbook '{path}' names no nodes (type 'remote' or 'local'): a platform that makes "
            "them does so only for a run. Give the address of one: 'user@host[:port]'"
        )
    for item in found:
        yield _create(item, platform)


def _create(runbook: schema.Node, platform: schema.Platform | None = None) -> Node:
    node = Node.create(-1, runbook, is_test_target=False, logger_name="node")
    if isinstance(node, RemoteNode):
        # As the platform 'ready' does.
        node.set_connection_info_by_runbook(
            default_username=platform.admin_username if platform else "",
            default_password=platform.admin_password if platform else "",
            default_private_key_file=platform.admin_private_key_file if platform else "",
        )
    return node


def _connect(node: Node) -> None:
    info = getattr(node, "connection_info", None)
    if info and not development.get_jump_boxes():
        _try_login(info)
    try:
        node.initialize()
    except LisaException:
        raise
    except Exception as error:  # paramiko's and spur's, all of them
        raise LisaException(f"cannot log in to node '{node.name or info}': {error}") from error


def _try_login(info: dict[str, Any]) -> None:
    """LISA itself, used to nodes that boot, tries for five minutes where a login is refused."""
    where = f"{info['address']}:{info['port']}"
    with paramiko.SSHClient() as client:
        client.set_missing_host_key_policy(paramiko.MissingHostKeyPolicy())  # as LISA
        try:
            client.connect(
                info["address"],
                int(info["port"]),
                info["username"],
                info["password"],
                key_filename=info["private_key_file"] or None,
                timeout=_TIMEOUT,
                banner_timeout=_TIMEOUT,
                auth_timeout=_TIMEOUT,
            )
        except paramiko.AuthenticationException as error:
            raise ConfigError(
                f"{where} refused the login of user '{info['username']}' ({error}). Check the user "
                "name, the key (--identity, or 'private_key_file' in the runbook) and the password"
            ) from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise SshLostError(where, error) from error
