"""Test that the next case's container starts while a case runs, but only if it is needed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import as_runbook, containers
from tests.support.runs import LisaProcess, Run, run_lisa, runbook

pytestmark = pytest.mark.usefixtures("nothing_left")


def _run(machine: SandboxNode, names: str, folder: Path) -> tuple[Run, int]:
    """Run cases; return the run and the number of containers that it created."""
    since = machine.run("date +%s.%N").stdout.strip()
    run = run_lisa(runbook([as_runbook(machine)], names), folder)
    until = machine.run("date +%s.%N").stdout.strip()
    words = [
        "--since",
        since,
        "--until",
        until,
        "--filter",
        "event=create",
        "--format",
        "{{json .}}",
    ]
    events = machine.run(["docker", "events", *words]).stdout.splitlines()
    return run, sum(json.loads(line)["Type"] == "container" for line in events)


def test_each_case_but_the_first_has_the_spare(machine: SandboxNode, tmp_path: Path) -> None:
    run, created = _run(machine, "warm_.*", tmp_path)
    names = ["warm_first", "warm_second", "warm_third", "warm_other", "warm_last"]
    assert run.statuses() == dict.fromkeys(names, "passed"), run.output
    assert created == len(names)


def test_no_spares(machine: SandboxNode, tmp_path: Path) -> None:
    run, created = _run(machine, "cold_.*", tmp_path)
    assert run.statuses() == {"cold_first": "passed", "cold_second": "passed"}, run.output
    assert created == 2


def test_spare_of_a_skipped_case_is_removed(machine: SandboxNode, tmp_path: Path) -> None:
    run, created = _run(machine, "unused_.*", tmp_path)
    assert run.statuses() == {"unused_first": "passed", "unused_second": "skipped"}, run.output
    assert created == 2


def test_failing_spare_is_no_failure(machine: SandboxNode, tmp_path: Path) -> None:
    """The case starts its own container instead, and reports why that fails."""
    machine.run("mknod -m 666 /dev/lisa_spare c 1 3")
    run, _ = _run(machine, "failing_.*", tmp_path)
    machine.run("rm -f /dev/lisa_spare")
    assert run.statuses() == {"failing_first": "passed", "failing_second": "failed"}, run.output
    assert "/dev/lisa_spare" in run.cases["failing_second"].message


def test_ends_beside_a_spare(machine: SandboxNode, tmp_path: Path) -> None:
    run, created = _run(machine, "beside_(failed|timeout|last)", tmp_path)
    statuses = {"beside_failed": "failed", "beside_timeout": "failed", "beside_last": "passed"}
    assert run.statuses() == statuses, run.output
    assert created == 3
    assert "4343" not in machine.run("ps -eo args").stdout


def test_interrupt_removes_the_spare(machine: SandboxNode, tmp_path: Path) -> None:
    lisa = LisaProcess(runbook([as_runbook(machine)], "beside_(interrupted|last)"), tmp_path)
    lisa.wait_for(lambda: "sleep 4344" in machine.run("ps -eo args").stdout, 120)
    assert len(containers(machine)) == 2
    lisa.interrupt()
    run = lisa.wait(120)
    assert "InterruptedRunError" in run.output
    assert not containers(machine)
