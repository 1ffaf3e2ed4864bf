"""Cost of starting and removing a container, and knowledge kept for the next one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from lisa.node import Node

from lisa_container import (
    ContainerDiedError,
    ContainerExecutor,
    ContainerTestConfig,
    ImageNotFoundError,
)
from lisa_container.engine.client import Engine
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.boxes import make_image
from tests.support.nodes import BUSYBOX
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.boxes"]

BOX = ContainerTestConfig(image=BUSYBOX)


@pytest.fixture
def requests(node: Node, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list of the requests to the engine, which grows."""
    with ContainerExecutor(node, BOX):  # the first of its kind looks at the image
        pass
    api, seen = Engine.of(node).api, []
    send = api.send

    def spy(request: Any, **kwargs: Any) -> Any:
        seen.append(f"{request.method} {request.url.split('?')[0].rpartition('/')[2]}")
        return send(request, **kwargs)

    monkeypatch.setattr(api, "send", spy)
    return seen


@pytest.fixture(autouse=True)
def nothing_left(machine: SandboxNode) -> Iterator[None]:
    yield
    assert not machine.run("docker ps -aq").stdout


def test_requests_of_a_start_and_a_removal(node: Node, requests: list[str]) -> None:
    container = ContainerExecutor(node, BOX).start()
    assert requests == ["POST create", "POST start", "GET json"]
    requests.clear()
    identity = container.id
    container.stop()
    assert requests == [f"DELETE {identity}"]


def test_removal_without_waiting(node: Node, machine: SandboxNode) -> None:
    container = ContainerExecutor(node, BOX).start()
    container.stop_soon()
    assert eventually(lambda: not machine.run("docker ps -aq").stdout, 60)
    assert container.is_started
    container.stop()
    assert not container.is_started


def test_removal_during_another_removal(node: Node, machine: SandboxNode) -> None:
    containers = [ContainerExecutor(node, BOX).start() for _ in range(3)]
    for container in containers:
        container.stop_soon()
        container.stop()  # at once: the engine is still at it
        assert container.name not in machine.run("docker ps -a").stdout


def test_image_removed_since(node: Node, machine: SandboxNode) -> None:
    """An image that was removed meanwhile is pulled again, or is an error of `pull_policy`."""
    with ContainerExecutor(node, BOX):
        pass
    machine.run(f"docker rmi -f {BUSYBOX}")
    with ContainerExecutor(node, BOX) as container:
        assert container.run(["echo", "again"]).stdout == "again"
    machine.run(f"docker tag {BUSYBOX} lisa_container_tests/tagged")
    config = ContainerTestConfig(image="lisa_container_tests/tagged", pull_policy="never")
    with ContainerExecutor(node, config):
        pass
    machine.run("docker rmi lisa_container_tests/tagged")
    with pytest.raises(ImageNotFoundError, match="pull_policy is 'never'"):
        ContainerExecutor(node, config).start()


def test_image_replaced_since(node: Node, machine: SandboxNode, no_sleep: str) -> None:
    """Knowledge about an image is not used for another one of its name."""
    one = make_image(node, "another", ["cat"])
    config = ContainerTestConfig(image="lisa_container_tests/moving", pull_policy="never")
    for image, has_shell in ((BUSYBOX, True), (no_sleep, True), (one, False), (BUSYBOX, True)):
        machine.run(f"docker tag {image} lisa_container_tests/moving")
        for _ in range(2):
            with ContainerExecutor(node, config) as container:
                assert container.has_shell == has_shell
                assert container.run(["cat"], stdin="alive").stdout == "alive"


def test_start_that_takes_too_long(node: Node) -> None:
    container = ContainerExecutor(node, BOX.merged(startup_timeout=0.001))
    with pytest.raises(ContainerDiedError, match="startup_timeout"):
        container.start()
    assert not container.is_started
