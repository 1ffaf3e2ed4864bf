"""`lisa-container ps`: what runs have on nodes."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from typing import Any

from lisa_container.cli.engines import for_each_engine
from lisa_container.cli.nodes import add_node_arguments
from lisa_container.cli.table import print_table
from lisa_container.engine.client import Engine
from lisa_container.engine.lease.sweep import Findings


@dataclass(frozen=True)
class _Row:
    what: str
    name: str
    state: str
    run: str
    runner: str
    since: str
    node: str
    id: str


# The id is for JSON only.
_COLUMNS = ("what", "name", "state", "run", "runner", "since", "node")


def add(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("ps", help="list containers, networks, volumes and images of runs")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_node_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what is on the nodes; the exit code."""
    rows: list[_Row] = []
    code = for_each_engine(arguments, lambda engine: rows.extend(_rows(engine)))
    if arguments.json:
        print(json.dumps([vars(row) for row in rows], indent=2))
    else:
        print_table(_COLUMNS, [[getattr(row, name) for name in _COLUMNS] for row in rows])
    return code


def _rows(engine: Engine) -> list[_Row]:
    findings = Findings.of(engine)
    return [
        _Row(
            item.what,
            item.name,
            findings.leases.state_of(item).value,
            item.run,
            item.runner,
            item.since,
            engine.name,
            item.id,
        )
        for item in findings.resources
    ]
