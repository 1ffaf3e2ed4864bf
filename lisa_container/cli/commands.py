"""What `lisa-container` does: `ps` and `reap`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from typing import Callable

from lisa.node import Node

from lisa_container.engine.client import Engine
from lisa_container.engine.lease.report import Resource
from lisa_container.engine.lease.sweep import Findings, sweep
from lisa_container.errors import ContainerError

FAILED, UNREACHABLE = 1, 2
"""Exit codes."""


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


def ps(arguments: argparse.Namespace, nodes: list[Node]) -> int:
    """Print what is on the nodes; the exit code."""
    rows: list[_Row] = []
    code = _for_each(nodes, lambda engine: rows.extend(_rows(engine)))
    if arguments.json:
        print(json.dumps([vars(row) for row in rows], indent=2))
    else:
        table = [[title.upper() for title in _COLUMNS]]
        table += [[getattr(row, column) for column in _COLUMNS] for row in rows]
        widths = [max(len(line[index]) for line in table) for index in range(len(_COLUMNS))]
        for line in table:
            words = (word.ljust(width) for word, width in zip(line, widths))
            print("  ".join(words).rstrip())
    return code


def reap(arguments: argparse.Namespace, nodes: list[Node]) -> int:
    """Remove what belongs to no living run, and tell; the exit code."""

    def reap_one(engine: Engine) -> int:
        findings = Findings.of(engine)
        dead = findings.dead_leases
        if arguments.dry_run:
            results = [(item, "") for item in findings.doomed(arguments.kept)]
        else:
            results = sweep(engine, findings, arguments.kept)
        verb = "would remove" if arguments.dry_run else "removed"
        for item, reason in results:
            if reason:
                print(f"{_describe(item, engine)} stays: {reason}", file=sys.stderr)
            else:
                print(f"{verb} {_describe(item, engine)}")
        for lease in dead:
            print(f"{verb} lease {lease.id} of run '{lease.run}' on '{engine.name}'")
        return FAILED if any(reason for _, reason in results) else 0

    return _for_each(nodes, reap_one)


def _for_each(nodes: list[Node], job: Callable[[Engine], int | None]) -> int:
    codes = [0]
    for node in nodes:
        try:
            codes.append(job(Engine.of(node)) or 0)
        except ContainerError as error:
            print(error, file=sys.stderr)
            codes.append(UNREACHABLE)
    return max(codes)


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


def _describe(item: Resource, engine: Engine) -> str:
    return f"{item.what} '{item.name}' of run '{item.run}' on '{engine.name}'"


COMMANDS = {"ps": ps, "reap": reap}
