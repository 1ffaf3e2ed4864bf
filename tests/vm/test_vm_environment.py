"""Environments of the platform `type: microvm`: disks, interfaces and networks of their nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.runs import run_lisa
from tests.support.vms import SOME_BOOTS


@SOME_BOOTS
@pytest.mark.usefixtures("image")
def test_nodes_as_the_case_asks_for_them(tmp_path: Path) -> None:
    runbook = {
        "name": "environment",
        "extension": [{"path": str(Path(__file__).parent / "suites"), "name": "vm_test_suites"}],
        "platform": [{"type": "microvm", "admin_username": "tester"}],
        "notifier": [{"type": "junit"}],
        "testcase": [{"criteria": {"name": "verify_disks_and_network"}}],
    }
    run = run_lisa(runbook, tmp_path, timeout=600)
    assert run.statuses() == {"verify_disks_and_network": "passed"}, run.output
