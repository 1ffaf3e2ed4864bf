"""Fleets as guests of a runbook; the page's example."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from lisa.node import Node

from lisa_container.platforms.sandbox import SandboxNode
from tests.support.docs_examples import DOCS, examples, run_page
from tests.support.nodes import BUSYBOX, as_runbook, engine_resources
from tests.support.runs import run_lisa, runbook

PAGE = DOCS / "fleet.md"


def test_page(node: Node) -> None:
    run_page(PAGE, nodes=[node])


def test_guests(machine: SandboxNode, tmp_path: Path) -> None:
    """The page's guests are the nodes of a suite for several; nothing of them stays."""
    before = engine_resources(machine)
    (example,) = (each for each in examples(PAGE) if each.name == "runbook")
    (platform,) = yaml.safe_load(example.text)["platform"]
    content = runbook([as_runbook(machine)], "fleet_.*", **platform)
    run = run_lisa(content, tmp_path)
    assert run.statuses() == {"fleet_meets": "passed", "fleet_first": "passed"}, run.output
    assert engine_resources(machine) == before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fleet": "a_b"}, "fleet: given 'a_b'"),
        (
            {"fleet": "web", "network_mode": "host"},
            "network_mode: given 'host'; legal: none beside",
        ),
    ],
)
def test_mistakes(
    fields: dict[str, str], message: str, machine: SandboxNode, tmp_path: Path
) -> None:
    guests = [{"type": "container", "image": BUSYBOX, **fields}]
    content = runbook([as_runbook(machine)], "fleet_.*", guest_enabled=True, guests=guests)
    run = run_lisa(content, tmp_path)
    assert run.exit_code != 0 and f"guest of type 'container': {message}" in run.output
