"""Plans written by a test."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
from lisa.node import Node

from lisa_container.plan import Plan, PlanResult, load_plan, run_plan
from tests.support.plans import Run, Write


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that makes a plan of a text, in busybox unless that names a container."""

    def write(text: str) -> Plan:
        text = textwrap.dedent(text)
        if "container:" not in text:
            text = f"container: {{image: lisa_container/busybox}}\n{text}"
        path = tmp_path / "written.yml"
        path.write_text(text, encoding="utf-8")
        return load_plan(path)

    return write


@pytest.fixture
def run(write: Write, node: Node) -> Run:
    """Return a function that makes and runs a plan."""

    def run(text: str, **options: Any) -> PlanResult:
        return run_plan(write(text), node, **options)

    return run
