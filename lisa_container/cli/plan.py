"""`lisa-container plan`: check plans (without a node), or run one."""

from __future__ import annotations

import argparse
import dataclasses
import shutil
from pathlib import Path
from typing import Any

from lisa.messages import TestStatus
from lisa.node import Node

from lisa_container.cases.recorded import RecordedCase, recorded_run
from lisa_container.cli.codes import FAILED
from lisa_container.cli.kept import enter_command, find_scripts
from lisa_container.cli.nodes import connected_nodes
from lisa_container.cli.output import complain, say, say_json
from lisa_container.config.current import current_settings, use_settings
from lisa_container.container.live import release_lease
from lisa_container.errors import PlanError
from lisa_container.naming import node_name
from lisa_container.plan import Plan, StepResult, load_plan, run_plan

_INDENT = "    "
# Name of the suite of plans in the history.
_SUITE = "plan"


def run_check(arguments: argparse.Namespace) -> int:
    """Print `file:line: reason` for each mistake, or `file: ok`; return the exit code."""
    rows: list[dict[str, Any]] = []
    for file in arguments.files:
        try:
            load_plan(file)
        except PlanError as error:
            mistakes = [{"line": line, "reason": reason} for line, reason in error.mistakes]
            rows.append({"file": str(file), "mistakes": mistakes})
            if not arguments.json:
                complain(error)
        else:
            rows.append({"file": str(file), "mistakes": []})
            if not arguments.json:
                say(f"{file}: ok")
    if arguments.json:
        say_json(rows)
    return FAILED if any(row["mistakes"] for row in rows) else 0


def run_one(arguments: argparse.Namespace) -> int:
    """Run a plan on each node, and print the results of its steps; return the exit code."""
    try:
        plan = load_plan(arguments.file)
    except PlanError as error:
        complain(error)
        return FAILED
    if arguments.start_engine:
        use_settings(dataclasses.replace(current_settings(), start_engine=True))
    code = 0
    with connected_nodes(arguments) as nodes, recorded_run(arguments.log, plan.name) as run:
        try:
            for node in nodes:
                kept = arguments.artifacts
                if len(nodes) > 1:
                    say(f"on node '{node_name(node)}':")
                    kept = kept and kept / node_name(node)
                if not _passes(plan, node, run, kept):
                    code = FAILED
        finally:
            for name in find_scripts(run):
                say(f"kept container '{name}'; enter: {enter_command(name, arguments.log)}")
            say(f"records: {run}")
    return code


def _passes(plan: Plan, node: Node, run: Path, kept: Path | None) -> bool:
    case = RecordedCase(run, _SUITE, plan.name, [node])

    def tell(step: StepResult) -> None:
        _print_step(step)
        case.report_part(f"{plan.name}/{step.name}", step.status, step.message, step.elapsed)

    try:
        with case.running():
            result = run_plan(plan, node, on_step=tell)
            failed = "\n".join(f"{step.name}: {step.message}" for step in result.failed)
            case.report_status(TestStatus.FAILED if failed else TestStatus.PASSED, failed)
    finally:
        release_lease(node)
    if kept is not None:
        _copy_artifacts(result.artifacts, case.folder, kept / plan.name)
    for warning in result.warnings:
        complain(f"warning: {warning}")
    return result.passed


def _copy_artifacts(artifacts: list[Path], case: Path, target: Path) -> None:
    """Copy the artifacts from a case's folder to one that the user has named."""
    for path in artifacts:
        below = path.relative_to(case).parts[2:]  # without containers/<container>
        copy = target.joinpath(*below)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def _print_step(step: StepResult) -> None:
    say(f"{step.status.name.lower():<8}{step.name} ({step.elapsed:.2f} s)")
    if step.status is not TestStatus.PASSED:
        for line in step.message.splitlines():
            say(f"{_INDENT}{line}")
