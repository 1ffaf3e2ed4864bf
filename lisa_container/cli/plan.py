"""`lisa-container plan check`: whether plans are right. It needs no node."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from lisa_container.cli.codes import FAILED
from lisa_container.errors import PlanError
from lisa_container.plan import load_plan


def add(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("plan", help="check plans of commands (docs/plans.md)")
    check = parser.add_subparsers(dest="plan_command", required=True).add_parser(
        "check", help="tell all mistakes in files; exit code 1 where there is one"
    )
    check.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a plan, in YAML")
    check.add_argument("--json", action="store_true", help="as JSON")
    check.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
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
            _print(row)
    return FAILED if any(row["mistakes"] for row in rows) else 0


def _print(row: dict[str, Any]) -> None:
    if not row["mistakes"]:
        print(f"{row['file']}: ok")
    for mistake in row["mistakes"]:
        place = f"{row['file']}:{mistake['line']}" if mistake["line"] else row["file"]
        print(f"{place}: {mistake['reason']}", file=sys.stderr)
