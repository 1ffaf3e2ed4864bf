"""Mistakes in suites and runbooks that are reported before anything is created."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from lisa.node import Node

from lisa_container.history import History, Index
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import BUSYBOX, as_runbook, containers
from tests.support.runs import run_lisa, runbook

pytest_plugins = ["tests.support.boxes"]
pytestmark = pytest.mark.usefixtures("nothing_left")

RUNS = "is running on environment"


def test_parameters(machine: SandboxNode, tmp_path: Path) -> None:
    """A misspelt parameter is an error at the selection, with the nearest legal name first."""
    run = run_lisa(runbook([as_runbook(machine)], "mistaken_.*"), tmp_path)
    assert run.statuses() == {
        "mistaken_name": "failed",
        "mistaken_bare": "failed",
        "mistaken_not": "passed",
        "mistaken_decorated": "failed",
    }, run.output
    selection = run.output.partition(RUNS)[0]
    for name, says in {
        "mistaken_name": "parameter: given 'containr'; did you mean 'container'? (legal: container,",
        "mistaken_bare": "parameter 'container': it has no annotation",
        "mistaken_decorated": "parameter: given 'hots'; did you mean 'host'? (legal: ",
    }.items():
        assert says in selection and says in run.cases[name].message, run.output
    with Index(tmp_path / "log") as index:
        assert History(index).run("last").containers == 1


def test_suite_on_guests(machine: SandboxNode, tmp_path: Path) -> None:
    """A suite with containers of its own is refused on guests, at the selection.

    A variable may say whether there are guests, in any word that LISA takes for true.
    """
    guests = [{"type": "container", "image": BUSYBOX}]
    names = "(mistaken_not|plain_below|plain_above)"
    content = runbook([as_runbook(machine)], names, guest_enabled="$(on_guests)", guests=guests)
    content["variable"] = [{"name": "on_guests", "value": "yes"}]
    run = run_lisa(content, tmp_path)
    assert run.exit_code != 0 and set(run.statuses().values()) == {"failed"}, run.output
    says = "makes containers of its own, so it cannot run on guests of type 'container'"
    assert f"'Mistaken' {says}" in run.output.partition(RUNS)[0], run.output
    for case in run.cases.values():
        assert says in case.message, case


def test_guest_without_a_shell(
    node: Node, no_shell: str, machine: SandboxNode, tmp_path: Path
) -> None:
    guests = [{"type": "container", "image": no_shell}]
    content = runbook([as_runbook(machine)], "built_guest", guest_enabled=True, guests=guests)
    run = run_lisa(content, tmp_path)
    assert f"its image '{no_shell}' has no shell" in run.output, run.output
    assert "NotImplementedError" not in run.output
    assert run.statuses().get("built_guest") != "passed"
    assert not containers(machine)


def jump_box(node: dict[str, Any]) -> dict[str, Any]:
    """Return a runbook's entry of a jump box, which is a node."""
    own = {name: node[name] for name in ("username", "private_key_file")}
    return {"address": node["public_address"], "port": node["public_port"], **own}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"public_port": 1}, "port 1 of '.*' is closed.* \\(Connection refused\\): check the port"),
        ({"public_address": "no.such.host.invalid"}, "host name 'no.such.host.invalid' is unknown"),
        ({"username": "nobody-here"}, "user '.*' cannot log in at .*Check the user, and the key"),
    ],
)
@pytest.mark.parametrize("jump_boxes", [0, 1])
def test_node_that_does_not_answer(
    machine: SandboxNode, tmp_path: Path, changes: dict[str, object], says: str, jump_boxes: int
) -> None:
    """The settings notifier ends a run whose node does not answer, without LISA's minutes."""
    entry = as_runbook(machine)
    content = runbook([{**entry, **changes}], "built_guest")
    content["dev"] = {"jump_boxes": [jump_box(entry)] * jump_boxes}
    content["notifier"].append({"type": "container_settings"})
    run = run_lisa(content, tmp_path, timeout=120)
    assert run.exit_code != 0 and run.cases == {}
    assert re.search(says, run.output), run.output
    assert "selected count" not in run.output
