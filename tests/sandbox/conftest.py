"""Sandboxes for the tests of the sandbox itself."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Callable

import pytest

from lisa_container.platforms.sandbox import Sandbox, SandboxNode, start_sandbox

Login = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def pair() -> Iterator[Sandbox]:
    """Start two nodes for tests that leave them unchanged."""
    with start_sandbox(2) as running:
        yield running


@pytest.fixture(scope="session")
def first(pair: Sandbox) -> SandboxNode:
    return pair.nodes[0]


@pytest.fixture(scope="session")
def second(pair: Sandbox) -> SandboxNode:
    return pair.nodes[1]


@pytest.fixture(scope="session")
def login() -> Login:
    """Return a function that runs a command through OpenSSH's own client."""

    def run(node: SandboxNode, command: str, username: str = "", stdin: str = "") -> object:
        return subprocess.run(
            [*node.ssh_command(username), command],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run  # type: ignore[return-value]
