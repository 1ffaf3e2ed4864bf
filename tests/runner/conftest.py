"""Check that each run of `lisa -r` leaves nothing on the node."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import resources


@pytest.fixture
def nothing_left(machine: SandboxNode) -> Iterator[None]:
    """Check that the test leaves nothing on the node."""
    before = resources(machine)
    leases = [
        x for line in before["processes"] for x in re.findall(r"lisa_container\.[0-9a-f]{16}", line)
    ]

    def is_of_others(process: str) -> bool:
        """Return whether it is a relay, or renews a lease of the file's own connections."""
        return (
            "docker.sock" in process
            or "echo ready-" in process
            or any(x in process for x in leases)
        )

    yield
    after = resources(machine)
    # A relay waits some time before it ends; tests/engine/test_dial.py checks its end.
    for found in (before, after):
        found["files"] = [x for x in found["files"] if not x.startswith("lisa_container_")]
        found["processes"] = [x for x in found["processes"] if not is_of_others(x)]
    assert after == before
