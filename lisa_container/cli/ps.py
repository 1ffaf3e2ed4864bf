"""`lisa-container ps`: list the resources of runs on nodes."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from lisa_container.cli.engines import for_each_engine
from lisa_container.cli.output import say, say_json, say_table
from lisa_container.engine.client import Engine
from lisa_container.engine.lease.sweep import Findings


@dataclass(frozen=True)
class _Row:
    what: str
    name: str
    state: str
    run: str
    runner: str
    created: str
    lease_since: str
    node: str
    id: str


# JSON has the id, too.
_COLUMNS = ("what", "name", "state", "run", "runner", "created", "lease_since", "node")


def run(arguments: argparse.Namespace) -> int:
    """Print the resources on the nodes; return the exit code."""
    rows: list[_Row] = []
    looked_at: list[str] = []

    def look(engine: Engine) -> None:
        rows.extend(_rows(engine))
        looked_at.append(f"'{engine.name}'")

    code = for_each_engine(arguments, look)
    if arguments.json:
        say_json([vars(row) for row in rows])
    elif rows:
        titles = [name.replace("_", " ") for name in _COLUMNS]
        say_table(titles, [[getattr(row, name) for name in _COLUMNS] for row in rows])
    elif looked_at:
        say(f"no run has anything on {', '.join(looked_at)}")
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
            item.created,
            item.since,
            engine.name,
            item.id,
        )
        for item in findings.resources
    ]
