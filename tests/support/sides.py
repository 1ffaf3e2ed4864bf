"""Nodes with one engine each, for tests that compare ours with the engine's own command."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from lisa.node import Node

from lisa_container.engine.client import Engine
from lisa_container.platforms.sandbox import SandboxNode, start_sandbox
from tests.support.engines import MORE_PACKAGES
from tests.support.nodes import connect_as, disconnect

TOOLS = ("docker", "podman")


@dataclass(frozen=True)
class Side:
    """Node with one engine.

    Args:
        machine: the sandbox node.
        node: the same, connected as root.
        engine: its engine.
        tool: the engine's own command.
    """

    machine: SandboxNode
    node: Node
    engine: Engine
    tool: str

    def plain(self, *words: str, stdin: bytes = b"") -> tuple[bytes, bytes, int]:
        """Run the engine's own command; return stdout, stderr and exit code."""
        argv = self.machine._entering([self.tool, *words])
        done = subprocess.run(argv, input=stdin, capture_output=True, check=False)
        return done.stdout, done.stderr, done.returncode


@contextlib.contextmanager
def start_side(tool: str) -> Iterator[Side]:
    """Start a node with Docker alone, or with podman alone.

    Args:
        tool: `docker` or `podman`.
    """
    with start_sandbox(1, packages=MORE_PACKAGES, docker=tool == "docker") as sandbox:
        machine = sandbox.nodes[0]
        if tool == "podman":
            machine.run("rm /etc/init.d/docker /usr/sbin/dockerd")
            # podman's storage does not work on top of an overlay.
            machine.run("mkdir -p /var/lib/docker/podman /var/lib/containers")
            machine.run("mount --bind /var/lib/docker/podman /var/lib/containers")
            machine.run("mkdir -p /run/podman")
            machine.run(
                "(setsid nohup podman system service -t 0 unix:///run/podman/podman.sock "
                ">/dev/null 2>&1 </dev/null &)"
            )
            machine.run("while ! [ -S /run/podman/podman.sock ]; do sleep 0.1; done")
        node = connect_as(machine, "root")
        try:
            yield Side(machine, node, Engine.of(node), tool)
        finally:
            disconnect(node)
