"""Hundreds of containers over one SSH connection of a node leave nothing on either side."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lisa.node import Node

from lisa_container import ContainerExecutor, ContainerTestConfig, start_all, stop_all
from lisa_container.engine.ssh import transport_of
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.engines import sshd_pids
from tests.support.nodes import BUSYBOX
from tests.support.soak import amount
from tests.support.waiting import eventually

pytestmark = pytest.mark.own_node

COUNT = amount(500, 60)
THREADS = 16
# Streams that are kept for later requests: as many as are idle at a time.
KEPT = 10


def state(node: Node, machine: SandboxNode) -> dict[str, int]:
    """Return the open resources of the connection on both sides."""
    folders = " ".join(f"/proc/{pid}/fd/*" for pid in sshd_pids(machine, "root"))
    return {
        "threads": threading.active_count(),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "channels": len(transport_of(node.shell)._channels),
        "descriptors of sshd": len(machine.run(f"ls -d {folders}").stdout.split()),
    }


@pytest.mark.soak
def test_hundreds(root_node: Node, machine: SandboxNode) -> None:
    # No network of their own: that makes them twice as quick, and is not what is tried here.
    config = ContainerTestConfig(image=BUSYBOX, network_mode="none")
    with ContainerExecutor(root_node, config) as first:
        first.run("true")
    logins, before = sshd_pids(machine, "root"), state(root_node, machine)

    containers = [ContainerExecutor(root_node, config) for _ in range(COUNT)]

    try:
        start_all(containers)
        with ThreadPoolExecutor(THREADS) as pool:
            # The second time each has a shell ready, whose channel stays open meanwhile.
            for turn in range(2):
                words = [f"echo {turn} of {each.name}" for each in containers]
                results = pool.map(lambda each, word: each.run(word), containers, words)
                assert [x.stdout for x in results] == [text.partition(" ")[2] for text in words]
        assert state(root_node, machine)["channels"] >= COUNT
        assert sshd_pids(machine, "root") == logins, "over one connection"
    finally:
        stop_all(containers)
    assert not machine.run("docker ps -aq").stdout

    def is_as_before() -> bool:
        after = state(root_node, machine)
        return all(after[name] <= before[name] + KEPT for name in before)

    assert eventually(is_as_before, 60), (before, state(root_node, machine))
    assert sshd_pids(machine, "root") == logins
