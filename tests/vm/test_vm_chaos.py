"""Faults that need a kernel with netem, in a virtual machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lisa.node import Node

from lisa_container import ContainerExecutor, ContainerTestConfig
from lisa_container.chaos import FailureInjector, MemoryPressure, NetworkFault, Pause
from lisa_container.chaos.target import Target
from lisa_container.errors import FaultError
from lisa_container.microvm import MicroVm, VmConfig
from lisa_container.microvm.session import VmSession
from tests.support.nodes import BUSYBOX


@pytest.fixture(scope="module")
def vm_node() -> Iterator[Node]:
    with VmSession(MicroVm(VmConfig(name="chaos"))) as vm:
        yield vm.node


@pytest.fixture(scope="module")
def box(vm_node: Node) -> Iterator[ContainerExecutor]:
    with ContainerExecutor(vm_node, ContainerTestConfig(image=BUSYBOX, memory="64m")) as container:
        yield container


def queue(box: ContainerExecutor) -> str:
    target = Target.of(box.engine, box.id)
    return target.run(target.in_network("tc qdisc show dev eth0"))


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "fault",
    [
        NetworkFault(delay=0.3),
        NetworkFault(delay=0.3, jitter=0.05, reorder=0.1),
        NetworkFault(loss=0.3),
        NetworkFault(corrupt=0.3),
        NetworkFault(duplicate=0.5),
    ],
    ids=["delay", "jitter", "loss", "corrupt", "duplicate"],
)
def test_network(fault: NetworkFault, vm_node: Node, box: ContainerExecutor) -> None:
    before = queue(box)
    with FailureInjector(vm_node) as chaos:
        (injected,) = chaos.inject(fault, box)
        assert " netem " in queue(box)
        assert injected.seconds < 60
        # Another fault of the same queue is refused, and changes nothing.
        with pytest.raises(FaultError, match="is controlled already on 'eth0': qdisc netem"):
            chaos.inject(NetworkFault(delay=1), box)
    assert queue(box) == before


def test_foreign_queue(vm_node: Node, box: ContainerExecutor) -> None:
    """A queue that the fault has not made is in the way, and stays."""
    target = Target.of(box.engine, box.id)
    target.run(target.in_network("tc qdisc add dev eth0 root tbf rate 1mbit burst 10k latency 9ms"))
    before = queue(box)
    with pytest.raises(FaultError, match="is controlled already on 'eth0': qdisc tbf"):
        FailureInjector(vm_node).inject(NetworkFault(delay=0.1), box)
    assert queue(box) == before
    target.run(target.in_network("tc qdisc del dev eth0 root"))


def test_cgroup_version_2(vm_node: Node, box: ContainerExecutor) -> None:
    """Faults that use cgroups bite and end in version 2, too."""
    with FailureInjector(vm_node) as chaos:
        chaos.inject(MemoryPressure(size="40m"), box)
        assert box.run("head -c 50m /dev/zero | tail >/dev/null").oom_killed
        chaos.inject(Pause(), box)
    assert box.run("echo alive").stdout == "alive"
