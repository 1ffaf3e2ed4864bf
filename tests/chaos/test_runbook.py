"""Faults of cases, and of guests of a runbook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lisa_container.platforms.sandbox import SandboxNode
from tests.support.docs_examples import DOCS, examples
from tests.support.leftovers import stored_faults
from tests.support.nodes import BUSYBOX, as_runbook
from tests.support.runs import run_lisa, runbook


def test_cases(machine: SandboxNode, tmp_path: Path) -> None:
    run = run_lisa(runbook([as_runbook(machine)], "faulty_.*"), tmp_path)
    assert run.statuses() == {
        "faulty_suite": "passed",
        "faulty_over": "passed",
        "faulty_decorated": "passed",
        "faulty_place": "failed",
    }, run.output
    assert "with_fault: case 'faulty_place' has no container" in run.cases["faulty_place"].message
    assert not stored_faults(machine)


def test_guests(machine: SandboxNode, tmp_path: Path) -> None:
    """A suite that knows nothing of faults runs under one, from the page's runbook alone."""
    (example,) = (each for each in examples(DOCS / "chaos.md") if each.name == "runbook")
    (platform,) = yaml.safe_load(example.text)["platform"]
    content = runbook([as_runbook(machine)], "throttled_by_fault", **platform)
    run = run_lisa(content, tmp_path)
    assert run.statuses() == {"throttled_by_fault": "passed"}, run.output
    assert not stored_faults(machine)


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ("cpu", "faults: given 'cpu'; legal: a list of faults"),
        (["cpu"], "faults: given 'cpu'; legal: a mapping such as"),
        ([{"kind": "cup"}], "faults, kind: given 'cup'; did you mean 'cpu'?"),
        ([{"kind": "cpu", "worker": 2}], "faults, fault 'cpu': given 'worker'; did you mean"),
        ([{"kind": "cpu", "workers": 0}], "workers: given 0; legal: a number of processes"),
        ([{"kind": "cpu", "workers": "two"}], "faults: given {'kind': 'cpu', 'workers': 'two'}"),
    ],
)
def test_mistakes(faults: Any, message: str, machine: SandboxNode, tmp_path: Path) -> None:
    guests = [{"type": "container", "image": BUSYBOX, "faults": faults}]
    content = runbook(
        [as_runbook(machine)], "throttled_by_fault", guest_enabled=True, guests=guests
    )
    run = run_lisa(content, tmp_path)
    assert run.exit_code != 0 and f"guest of type 'container': {message}" in run.output, run.output
