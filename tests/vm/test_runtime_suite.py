"""The suite `testsuites/runtime.py`, run by LISA on a VM; and a runtime on a sandbox node."""

from __future__ import annotations

from pathlib import Path

import pytest

from lisa_container.microvm import provide_image
from tests.support.runs import ROOT, run_lisa
from tests.support.runtimes import SOME_RUNTIMES, VM
from tests.support.soak import SAMPLES, dice

CASES = (
    "verify_deployment",
    "verify_descriptors",
    "verify_leak_is_found",
    "verify_many",
    "verify_network",
    "verify_requests",
    "verify_reuse",
)
CHOSEN = dice("cases").sample(CASES, 2) if SAMPLES else CASES


@pytest.mark.parametrize("program", SOME_RUNTIMES)
def test_runbook(program: str, tmp_path: Path) -> None:
    """The cases pass on a VM, whose user needs sudo."""
    provide_image(VM.image, print)
    variables = {"runtime": program, "cases": "|".join(CHOSEN)}
    run = run_lisa(ROOT / "runbooks" / "runtime.yml", tmp_path, variables, timeout=600)
    assert run.statuses() == dict.fromkeys(CHOSEN, "passed"), run.output
    assert run.exit_code == 0
