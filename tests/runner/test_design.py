"""Test the examples of the design that this package grew from, with `lisa -r`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import add_user, as_runbook
from tests.support.runs import run_lisa, runbook

pytestmark = pytest.mark.usefixtures("nothing_left")

SUDOERS = "/etc/sudoers.d/lisa"


@pytest.fixture
def lisa_user(machine: SandboxNode) -> Iterator[str]:
    """Return the name of a user with sudo whose name LISA masks in its logs, in all words."""
    add_user(machine, "lisa")
    machine.run(f"echo 'lisa ALL=(ALL) NOPASSWD: ALL' >{SUDOERS}; chmod 440 {SUDOERS}")
    yield "lisa"
    machine.run(f"rm {SUDOERS}")


@pytest.mark.parametrize("user", ["root", "lisa"])
def test_design(user: str, machine: SandboxNode, lisa_user: str, tmp_path: Path) -> None:
    """The three examples pass as they stand."""
    node = {**as_runbook(machine), "username": user}
    run = run_lisa(runbook([node], "design_.*"), tmp_path)
    names = ["host_root", "run_in_container", "own_container", "inside", "executor"]
    assert run.statuses() == {f"design_{name}": "passed" for name in names}, run.output
