"""`lisa-container ps`: list the resources of runs on nodes."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from lisa_container.cli.engines import for_each_engine
from lisa_container.cli.output import say_json, say_table
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


# JSON has the id, too.
_COLUMNS = ("what", "name", "state", "run", "runner", "since", "node")


def run(arguments: argparse.Namespace) -> int:
    """Print the resources on the nodes; return the exit code."""
    rows: list[_Row] = []
    code = for_each_engine(arguments, lambda engine: rows.extend(_rows(engine)))
    if arguments.json:
        say_json([vars(row) for row in rows])
    else:
        say_table(_COLUMNS, [[getattr(row, name) for name in _COLUMNS] for row in rows])
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
