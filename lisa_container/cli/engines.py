"""Engines of the nodes that a command line names."""

from __future__ import annotations

import argparse
from typing import Callable

from lisa_container.cli.codes import UNREACHABLE
from lisa_container.cli.nodes import connected_nodes
from lisa_container.cli.output import complain
from lisa_container.engine.client import Engine
from lisa_container.errors import ContainerError


def for_each_engine(arguments: argparse.Namespace, job: Callable[[Engine], int | None]) -> int:
    """Do a job on the engine of each node; return the highest exit code.

    Args:
        arguments: arguments of the command, with those of `_add_node_arguments`.
        job: returns an exit code; None means 0.

    Raises:
        ConfigError: see `connected_nodes`.
        LisaException: see `connected_nodes`.
    """
    codes = [0]
    with connected_nodes(arguments) as nodes:
        for node in nodes:
            try:
                codes.append(job(Engine.of(node)) or 0)
            except ContainerError as error:
                complain(error)
                codes.append(UNREACHABLE)
    return max(codes)
