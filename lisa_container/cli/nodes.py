"""Connections to the nodes that a command line names."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from lisa import development, schema
from lisa.node import Node
from lisa.parameter_parser.runbook import RunbookBuilder
from lisa.util import constants
from lisa.util.logger import (
    add_handler,
    init_logger,
    remove_handler,
    set_console_level,
    uninit_logger,
)

from lisa_container.addresses import ADDRESS_FORM, PASSWORD_VARIABLE, parse_address
from lisa_container.cli.output import complain, show_activity
from lisa_container.engine.client import Engine
from lisa_container.engine.progress import NOTICE
from lisa_container.engine.reach import connect, node_of, remote_node
from lisa_container.errors import ConfigError
from lisa_container.forks import temporary_folder
from lisa_container.naming import node_name


class _Notices(logging.Handler):
    """Handler that shows lines about long jobs on standard error, of all that is logged."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show the line."""
        if any(hasattr(record, name) for name in NOTICE):
            complain(record.getMessage())


@contextlib.contextmanager
def connected_nodes(arguments: argparse.Namespace) -> Iterator[list[Node]]:
    """Connect to the nodes that the command line names; disconnect at the end.

    Args:
        arguments: of the command line, with those of `_add_node_arguments`.

    Raises:
        ConfigError: the command line or the runbook names no node that can be connected to.
        LisaException: a node does not answer or refuses the login, or the runbook has a mistake.
    """
    if bool(arguments.target) == bool(arguments.runbook):
        raise ConfigError("give either a target, 'user@host[:port]' or 'local', or --runbook")
    with temporary_folder("lisa_container_cli_") as folder:
        # A run of LISA has these; a node needs them for its log.
        constants.RUN_ID = "lisa-container"
        constants.RUN_LOGIC_PATH = Path("lisa-container")
        constants.RUN_LOCAL_LOG_PATH = constants.RUN_LOCAL_WORKING_PATH = Path(folder)
        init_logger()
        uninit_logger()  # standard output is for the answer
        set_console_level(logging.DEBUG if arguments.debug else logging.CRITICAL)
        notices = _Notices()
        if not arguments.debug:
            add_handler(notices)
        nodes: list[Node] = []
        try:
            for node in _nodes(arguments):
                nodes.append(node)
                with show_activity(f"connecting to '{node_name(node)}'"):
                    connect(node)
            yield nodes
        finally:
            remove_handler(notices)
            for node in nodes:
                Engine.forget(node)
                node.close()


def _nodes(arguments: argparse.Namespace) -> Iterator[Node]:
    if arguments.runbook:
        yield from _of_runbook(arguments.runbook, arguments.variables)
    elif arguments.target == "local":
        yield node_of(schema.LocalNode(name="local"))
    else:
        yield _of_address(arguments)


def _of_address(arguments: argparse.Namespace) -> Node:
    address = parse_address(arguments.target)
    if address is None:
        raise ConfigError(f"target: given '{arguments.target}'; legal: '{ADDRESS_FORM}' or 'local'")
    password = os.environ.get(PASSWORD_VARIABLE, "")
    if arguments.ask_password:
        password = getpass.getpass(f"Password of {arguments.target}: ")
    if not password and not arguments.identity:
        raise ConfigError(
            f"target '{arguments.target}': no way to log in. Give the user's private key with "
            f"--identity, or a password with --ask-password or in {PASSWORD_VARIABLE}"
        )
    return remote_node(address, arguments.identity, password)


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
        yield node_of(item, platform)
