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

from lisa import development, schema
from lisa.node import Node, RemoteNode
from lisa.parameter_parser.runbook import RunbookBuilder
from lisa.util import LisaException, constants
from lisa.util.logger import init_logger, set_console_level, uninit_logger
from lisa.util.shell import SshShell

from lisa_container.engine.client import Engine
from lisa_container.engine.naming import node_name
from lisa_container.engine.ssh import address_of, answers, check_login
from lisa_container.errors import ConfigError, SshLostError

PASSWORD_VARIABLE = "LISA_CONTAINER_PASSWORD"
"""The environment variable that may hold the password of the node's user."""

_SSH_PORT = 22

_TARGET = (
    "'user@host[:port]', or 'local' for this machine; or else give --runbook. "
    f"The user's password, where one is needed, is taken from {PASSWORD_VARIABLE} or asked for "
    "(--ask-password)"
)


def add_node_arguments(parser: argparse.ArgumentParser) -> None:
    """Have a command take the nodes that it is about.

    Args:
        parser: of the command.
    """
    parser.add_argument("target", nargs="?", default="", help=_TARGET)
    parser.add_argument(
        "-i", "--identity", type=Path, metavar="FILE", help="private key of the node's user"
    )
    parser.add_argument(
        "--ask-password", action="store_true", help="ask for the password on the terminal"
    )
    parser.add_argument(
        "-r", "--runbook", type=Path, metavar="FILE", help="take the nodes of a runbook"
    )
    parser.add_argument(
        "-v",
        "--variable",
        dest="variables",
        action="append",
        default=[],
        metavar="NAME:VALUE",
        help="of the runbook, as for lisa",
    )
    parser.add_argument("-d", "--debug", action="store_true", help="show LISA's log")


@contextlib.contextmanager
def connected_nodes(arguments: argparse.Namespace) -> Iterator[list[Node]]:
    """Connect to the nodes, and close them at the end.

    Args:
        arguments: of the command line, with those of `add_node_arguments`.

    Raises:
        ConfigError: the command line or the runbook names no node that can be connected to.
        LisaException: a node does not answer or refuses the login; what LISA says of the runbook.
    """
    if bool(arguments.target) == bool(arguments.runbook):
        raise ConfigError("give either a target, 'user@host[:port]' or 'local', or --runbook")
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
    shell = node.shell
    if isinstance(shell, SshShell) and not development.get_jump_boxes():
        info = shell.connection_info
        if not answers(shell):
            raise LisaException(
                f"nobody answers at {address_of(shell)}: check the address, the port, and that "
                "the node is up"
            )
        try:
            check_login(info)
        except SshLostError as error:
            raise LisaException(
                f"user '{info.username}' cannot log in at {address_of(shell)}: {error.cause}. "
                "Check the user, and the key or password"
            ) from error
    try:
        node.initialize()
    except LisaException:
        raise
    except Exception as error:  # paramiko's and spur's, all of them
        raise LisaException(f"cannot connect to node '{node_name(node)}': {error}") from error
