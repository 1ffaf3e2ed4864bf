"""Leases of runs that live on slow machines, or whose node was rebooted."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Callable, Iterator

import pytest
from lisa.node import Node

from lisa_container import ContainerExecutor, ContainerTestConfig
from lisa_container.container.live import release_lease
from lisa_container.engine.client import Engine
from lisa_container.engine.lease.lease import TTL_VARIABLE, Lease
from lisa_container.engine.lease.order import Order
from lisa_container.platforms.sandbox import SandboxNode
from tests.support import programs
from tests.support.nodes import BUSYBOX, connect_as
from tests.support.programs import CLI
from tests.support.runners import Runners, left, wait_until, wait_until_clean

BOX = ContainerTestConfig(image=BUSYBOX)
CUT = "iptables -I INPUT -p tcp --dport 22 -j DROP"
MEND = "iptables -D INPUT -p tcp --dport 22 -j DROP"


@pytest.fixture(params=["sudo", "docker"])
def own(
    request: pytest.FixtureRequest, machine: SandboxNode, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Node]:
    """Connect with short leases, as root by sudo and as a user without it."""
    monkeypatch.setenv(TTL_VARIABLE, "4")
    node = connect_as(machine, request.param)
    yield node
    release_lease(node)
    Engine.forget(node)
    node.close()
    wait_until_clean(machine)


@pytest.fixture
def running(own: Node) -> Iterator[tuple[ContainerExecutor, Lease]]:
    """Start a container whose lease is being renewed over a connection of the run."""
    with ContainerExecutor(own, BOX) as container:
        lease = Lease.of(container.engine)
        assert lease._renewal is not None
        wait_until(lambda: lease._renewal and lease._renewal._commands, "a renewal")
        yield container, lease


def folder_of(lease: Lease) -> str:
    assert lease._renewal is not None
    return lease._renewal.folder


def is_there(machine: SandboxNode, path: str) -> bool:
    return machine.run(["test", "-e", path], check=False).returncode == 0


def reboot(machine: SandboxNode, lease: Lease) -> None:
    """End what a reboot ends: the processes of the lease, its folder, and the connections."""
    machine.run(
        f"grep -lE 'LISA_CONTAINER_(LEASE|WATCHER)={lease.id}' /proc/[0-9]*/environ 2>/dev/null "
        f"| cut -d/ -f3 | xargs -r kill -9; rm -rf {folder_of(lease)}; pkill -f 'sshd: [a-z]*@notty'; :"
    )


def check_goes_on(machine: SandboxNode, container: ContainerExecutor, lease: Lease) -> None:
    """Check that the container works, and that its run counts as living."""
    target = [f"root@{machine.address}", "-i", machine.private_key_file]
    shown = programs.run(*CLI, "ps", "--json", *target, check=True)
    states = {row["name"]: row["state"] for row in json.loads(shown.stdout)}
    assert states[container.name] == "alive"
    reaped = programs.run(*CLI, "reap", *target, check=True)
    assert reaped.stdout.startswith("nothing to remove")
    assert container.run("echo alive").stdout == "alive"
    assert lease.why_gone() == ""


@pytest.mark.parametrize(("own", "seconds"), [("sudo", 7), ("docker", 0)], indirect=["own"])
def test_reboot(
    machine: SandboxNode,
    running: tuple[ContainerExecutor, Lease],
    seconds: int,
    logged: Callable[[], str],
) -> None:
    """A living owner takes its lease up again, even after a long absence of the node."""
    container, lease = running
    id, registered = lease.id, "/run/of_a_run/file"
    lease.file(registered)
    machine.run(CUT if seconds else "true")
    try:
        reboot(machine, lease)
        machine.run(f"sleep {seconds}")
    finally:
        machine.run(MEND if seconds else "true")
    wait_until(lambda: is_there(machine, folder_of(lease)), "the lease is there again")
    wait_until(
        lambda: registered in machine.run(f"cat {folder_of(lease)}/files", check=False).stdout,
        "its files",
    )
    check_goes_on(machine, container, lease)
    assert lease.id == id
    assert "has been restored" in logged()
    assert "has expired" not in logged()


@pytest.mark.parametrize("own", ["sudo"], indirect=True)
@pytest.mark.parametrize("stopped", ["node.sh beat", "node.sh (beat|watch)"])
def test_slow_node(
    machine: SandboxNode, running: tuple[ContainerExecutor, Lease], stopped: str
) -> None:
    """Neither a renewal nor a watcher that gets no processor ends the lease."""
    container, lease = running
    machine.run(["pkill", "-STOP", "-f", stopped])
    machine.run("sleep 7")
    machine.run(["pkill", "-CONT", "-f", stopped])
    machine.run("sleep 3")
    check_goes_on(machine, container, lease)


def test_stopped_runner_goes_on(machine: SandboxNode, runners: Runners) -> None:
    """A runner without CPU time for two TTLs keeps its connection and its container."""
    runner = runners.start(machine, "run", ttl=4)
    runner.wait_for("round")
    wait_until(lambda: any("node.sh beat" in line for line in left(machine)), "a renewal")
    runner.signal(signal.SIGSTOP)
    machine.run("sleep 8")
    assert any(f"container {runner.name}" in line for line in left(machine))
    runner.signal(signal.SIGCONT)
    rounds = len(runner.lines)
    wait_until(lambda: len(runner.lines) > rounds + 3, "the runner goes on")
    runner.stop()
    assert "Traceback" not in "\n".join(runner.lines)
    wait_until_clean(machine)


def test_runner_stopped_for_too_long(machine: SandboxNode, runners: Runners) -> None:
    """A runner stopped for too long ends with one error and its reason; nothing is left."""
    runner = runners.start(machine, "run", ttl=3)
    runner.wait_for("round")
    runner.signal(signal.SIGSTOP)
    wait_until_clean(machine)
    runner.signal(signal.SIGCONT)
    runner.wait()
    text = "\n".join(runner.lines)
    assert text.rstrip().splitlines()[-1].startswith("lisa_container.errors.")
    assert "ContainerDiedError" in text and text.count("its lease expired: for 3 seconds") == 1
    assert left(machine) == []


def test_condition(machine: SandboxNode, running: tuple[ContainerExecutor, Lease]) -> None:
    """The node distinguishes an expired lease from a lost one."""
    _, lease = running
    renewal = lease._renewal
    assert renewal is not None
    order: Order = renewal._order
    boot, condition = order.condition(renewal.shell, renewal.folder)
    assert condition == "alive" and boot
    lost = renewal.folder.replace(lease.id, "0" * 16)
    assert order.condition(renewal.shell, lost) == (boot, "gone")
    silent = dataclasses.replace(order, socket="/run/no_such.sock")
    machine.run(f"mv {renewal.folder} {renewal.folder}.away")
    try:
        assert order.condition(renewal.shell, renewal.folder) == (boot, "lost")
        assert silent.condition(renewal.shell, renewal.folder) == (boot, "unknown")
    finally:
        machine.run(f"mv {renewal.folder}.away {renewal.folder}")
    machine.run(f"touch {renewal.folder}/expired")
    assert order.condition(renewal.shell, renewal.folder) == (boot, "expired")
    machine.run(f"rm {renewal.folder}/expired")
