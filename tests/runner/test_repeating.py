"""Test LISA's `retry` with several environments at once: no failed case is forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import BUSYBOX, as_runbook
from tests.support.runs import run_lisa, runbook

pytestmark = pytest.mark.usefixtures("nothing_left")


GUESTS = {"guest_enabled": True, "guests": [{"type": "container", "image": BUSYBOX}]}


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("failing", "short", "platform"),
    [
        ("suite", "short", {}),
        ("decorated", "short", {}),
        ("plain", "short", {}),
        ("on_guest", "stock", GUESTS),
    ],
)
def test_repeated_beside_others(
    machine: SandboxNode, failing: str, short: str, platform: dict[str, Any], tmp_path: Path
) -> None:
    """Short cases of the other environment end while the failed one is cleaned up."""
    book = runbook([as_runbook(machine)], "", **platform)
    nodes = book["environment"]["environments"][0]["nodes"]
    book["environment"]["environments"] = [{"nodes": nodes}, {"nodes": nodes}]
    book["concurrency"] = 2
    book["testcase"] = [
        {"criteria": {"name": f"repeating_{failing}"}, "retry": 1},
        {"criteria": {"name": f"repeating_{short}"}, "times": 8},
    ]
    run = run_lisa(book, tmp_path)
    assert set(run.statuses().values()) == {"passed"}, run.output
    assert run.exit_code == 0 and f"repeating_{failing}" in run.statuses()
    assert "retry test case" in next(tmp_path.glob("log/*/*/lisa-*.log")).read_text()
