"""Many containers at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from func_timeout import FunctionTimedOut, func_timeout
from lisa.node import Node

from lisa_container import (
    ContainerExecutor,
    ContainerTestConfig,
    EngineError,
    start_all,
    stop_all,
)
from lisa_container.container.parallel import _remove_left_overs
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import BUSYBOX
from tests.support.waiting import eventually

BOX = ContainerTestConfig(image=BUSYBOX, network_mode="none")


def boxes(node: Node, count: int) -> list[ContainerExecutor]:
    return [ContainerExecutor(node, BOX) for _ in range(count)]


def present(machine: SandboxNode) -> list[str]:
    return machine.run(["docker", "ps", "-a", "--format", "{{.Names}}"]).stdout.split()


@pytest.fixture(autouse=True)
def nothing_left(machine: SandboxNode) -> Iterator[None]:
    yield
    assert not present(machine)


class Counted(ContainerExecutor):
    """Container that counts the starts at the same time."""

    now = most = begun = 0
    lock = threading.Lock()

    def start(self) -> ContainerExecutor:
        with self.lock:
            Counted.now += 1
            Counted.begun += 1
            Counted.most = max(self.most, self.now)
        try:
            return super().start()
        finally:
            with self.lock:
                Counted.now -= 1


def test_start_and_stop(node: Node, machine: SandboxNode) -> None:
    wanted = [Counted(node, BOX) for _ in range(20)]
    started = start_all(wanted)
    assert started == wanted
    assert sorted(present(machine)) == sorted(each.name for each in wanted)
    assert 1 < Counted.most <= 8
    names = [each.run("echo $0 >/name; cat /name").stdout for each in started]
    assert names == ["sh"] * 20
    stop_all(started)
    assert not present(machine)
    assert not any(each.is_started for each in started)
    stop_all(started)  # harmless
    assert start_all([]) == []


def test_on_two_connections(node: Node, root_node: Node, machine: SandboxNode) -> None:
    started = start_all([*boxes(node, 3), *boxes(root_node, 3)])
    assert [each.run(["echo", each.name]).stdout for each in started] == [x.name for x in started]
    stop_all(started)


def test_one_fails(node: Node, machine: SandboxNode) -> None:
    """The failure of one start removes the new containers, but not one that ran before."""
    before, *new = boxes(node, 12)
    before.start()
    wrong = ContainerExecutor(node, BOX.merged(devices=["/dev/of_nobody"]))
    with pytest.raises(EngineError, match="/dev/of_nobody"):
        start_all([before, *new[:5], wrong, *new[5:]])
    assert present(machine) == [before.name]
    assert not any(each.is_started for each in new)
    assert before.run(["echo", "alive"]).stdout == "alive"
    before.stop()


def test_none_is_begun_after_a_failure(node: Node) -> None:
    Counted.begun = 0
    wrong = ContainerExecutor(node, BOX.merged(devices=["/dev/of_nobody"]))
    with pytest.raises(EngineError, match="/dev/of_nobody"):
        start_all([wrong, *(Counted(node, BOX) for _ in range(100))])
    assert Counted.begun < 100


class Together(ContainerExecutor):
    """Container that starts at the same moment as two others."""

    barrier = threading.Barrier(3)

    def start(self) -> ContainerExecutor:
        self.barrier.wait(60)
        return super().start()


def test_all_reasons(node: Node) -> None:
    configs = [BOX, BOX.merged(devices=["/dev/first"]), BOX.merged(devices=["/dev/second"])]
    with pytest.raises(EngineError) as caught:
        start_all(Together(node, config) for config in configs)
    assert "/dev/first" in str(caught.value)
    assert "/dev/second" in str(caught.value)


def test_interrupted(node: Node, machine: SandboxNode) -> None:
    """An exception in the waiting thread, like LISA's case timeout, removes all containers."""
    wanted = boxes(node, 60)
    with pytest.raises(FunctionTimedOut):
        func_timeout(1.5, start_all, (wanted,))

    def is_over() -> bool:
        workers = [each for each in threading.enumerate() if each.name == "containers"]
        return not workers and not present(machine) and not any(each.is_started for each in wanted)

    assert eventually(is_over, 120)


def test_one_for_each_of_32_threads(node: Node) -> None:
    def work(number: int) -> list[str]:
        with ContainerExecutor(node, BOX) as container:
            lines = [container.run(f"echo {number} {turn}").stdout for turn in range(10)]
            data = bytes([number]) * 50_000
            assert container.run(["cat"], stdin=data).stdout_bytes == data
            return lines

    with ThreadPoolExecutor(32) as pool:
        for number, lines in enumerate(pool.map(work, range(32))):
            assert lines == [f"{number} {turn}" for turn in range(10)]


def test_end_of_the_process(node: Node) -> None:
    """Containers left at the end of the process are removed several at a time."""
    started = start_all(boxes(node, 10))
    _remove_left_overs()
    assert not any(each.is_started for each in started)
