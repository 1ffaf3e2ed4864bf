"""`lisa-container plan`: whether plans are right (`check`, without any node), and running one."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from lisa.messages import TestStatus
from lisa.node import Node

from lisa_container.cli.codes import FAILED
from lisa_container.cli.nodes import add_node_arguments, connected_nodes
from lisa_container.engine.naming import node_name
from lisa_container.errors import PlanError
from lisa_container.executor import release_lease
from lisa_container.plan import Plan, StepResult, load_plan, run_plan

_INDENT = "    "


def add(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("plan", help="check or run plans of commands (docs/plans.md)")
    actions = parser.add_subparsers(dest="action", required=True)
    check = actions.add_parser(
        "check", help="tell all mistakes in files; exit code 1 where there is one"
    )
    check.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a plan, in YAML")
    check.add_argument("--json", action="store_true", help="as JSON")
    check.set_defaults(run=run_check)
    run = actions.add_parser("run", help="run a plan on nodes; exit code 1 where a step fails")
    run.add_argument("file", type=Path, metavar="FILE", help="a plan, in YAML")
    run.add_argument(
        "--artifacts", type=Path, metavar="FOLDER", help="keep the plan's artifacts below it"
    )
    add_node_arguments(run)
    run.set_defaults(run=run_one)


def run_check(arguments: argparse.Namespace) -> int:
    """Print `file:line: reason` for each mistake, and `file: ok` for a plan without; the exit
    code."""
    rows: list[dict[str, Any]] = []
    for file in arguments.files:
        try:
            load_plan(file)
            rows.append({"file": str(file), "mistakes": []})
        except PlanError as error:
            mistakes = [{"line": line, "reason": reason} for line, reason in error.mistakes]
            rows.append({"file": str(file), "mistakes": mistakes})
    if arguments.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            _print_mistakes(row)
    return FAILED if any(row["mistakes"] for row in rows) else 0


def run_one(arguments: argparse.Namespace) -> int:
    """Run a plan on each node, and print what comes of its steps; the exit code."""
    try:
        plan = load_plan(arguments.file)
    except PlanError as error:
        print(error, file=sys.stderr)
        return FAILED
    code = 0
    with connected_nodes(arguments) as nodes:
        for node in nodes:
            folder = arguments.artifacts
            if len(nodes) > 1:
                print(f"on node '{node_name(node)}':", flush=True)
                folder = folder and folder / node_name(node)
            if not _passes(plan, node, folder):
                code = FAILED
    return code


def _passes(plan: Plan, node: Node, folder: Path | None) -> bool:
    try:
        result = run_plan(plan, node, folder / plan.name if folder else None, _print_step)
    finally:
        release_lease(node)
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return result.passed


def _print_step(step: StepResult) -> None:
    print(f"{step.status.name.lower():<8}{step.name} ({step.elapsed:.2f} s)", flush=True)
    if step.status is not TestStatus.PASSED:
        for line in step.message.splitlines():
            print(f"{_INDENT}{line}", flush=True)


def _print_mistakes(row: dict[str, Any]) -> None:
    if not row["mistakes"]:
        print(f"{row['file']}: ok")
    for mistake in row["mistakes"]:
        place = f"{row['file']}:{mistake['line']}" if mistake["line"] else row["file"]
        print(f"{place}: {mistake['reason']}", file=sys.stderr)
