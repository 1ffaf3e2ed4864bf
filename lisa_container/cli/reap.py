"""`lisa-container reap`: the removal of what belongs to no living run."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from lisa_container.cli.codes import FAILED
from lisa_container.cli.engines import for_each_engine
from lisa_container.cli.nodes import add_node_arguments
from lisa_container.engine.client import Engine
from lisa_container.engine.lease.report import Resource
from lisa_container.engine.lease.sweep import Findings, sweep
from lisa_container.images.caches import caches, remove_cache


def add(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("reap", help="remove what belongs to no living run")
    parser.add_argument("-n", "--dry-run", action="store_true", help="only tell what would go")
    parser.add_argument("--kept", action="store_true", help="also what was kept on purpose")
    parser.add_argument(
        "--caches",
        action="store_true",
        help="also images that were made on the node and serve all runs: tools, builds, busybox",
    )
    add_node_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
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
        for name in caches(engine) if arguments.caches else []:
            if arguments.dry_run or remove_cache(engine, name):
                print(f"{verb} image '{name}' on '{engine.name}'")
        return FAILED if any(reason for _, reason in results) else 0

    return for_each_engine(arguments, reap_one)


def _describe(item: Resource, engine: Engine) -> str:
    return f"{item.what} '{item.name}' of run '{item.run}' on '{engine.name}'"
