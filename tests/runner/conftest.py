"""Runs of `lisa -r` leave a node as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from nodes import resources

from lisa_container.platforms.sandbox import SandboxNode


@pytest.fixture
def nothing_left(machine: SandboxNode) -> Iterator[None]:
    """The node is after the test as it was before."""
    before = resources(machine)
    yield
    after = resources(machine)
    # A relay may be waiting for more until it is idle; tests/engine/test_dial.py sees it end.
    for found in (before, after):
        found["files"] = [x for x in found["files"] if not x.startswith("lisa_container_")]
        found["processes"] = [x for x in found["processes"] if "docker.sock" not in x]
    assert after == before
