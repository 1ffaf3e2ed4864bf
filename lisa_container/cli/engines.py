"""The engines of the nodes that a command line names, one after the other."""

from __future__ import annotations

import argparse
import sys
from typing import Callable

from lisa_container.cli.codes import UNREACHABLE
from lisa_container.cli.nodes import connected_nodes
from lisa_container.engine.client import Engine
from lisa_container.errors import ContainerError


def for_each_engine(arguments: argparse.Namespace, job: Callable[[Engine], int | None]) -> int:
    """Do a job on each node; the worst exit code.

    Args:
        arguments: of the command line, with those of `add_node_arguments`.
        job: returns an exit code, None for 0.

    Raises:
        ConfigError, LisaException: see `connected_nodes`.
    """
    codes = [0]
    with connected_nodes(arguments) as nodes:
        for node in nodes:
            try:
                codes.append(job(Engine.of(node)) or 0)
            except ContainerError as error:
                print(error, file=sys.stderr)
                codes.append(UNREACHABLE)
    return max(codes)
