"""Fixtures for tests of containers (`pytest_plugins = ["tests.support.boxes"]`), and helpers."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from lisa.node import Node

from lisa_container import ContainerExecutor, ContainerTestConfig
from lisa_container.archives.pack import pack_bytes
from lisa_container.engine.client import Engine
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import BUSYBOX


@pytest.fixture(scope="module")
def box(node: Node) -> Iterator[ContainerExecutor]:
    """Return a container for tests that do not change it."""
    with ContainerExecutor(node, ContainerTestConfig(image=BUSYBOX)) as container:
        yield container


@pytest.fixture(scope="module")
def places(node: Node) -> Iterator[ContainerExecutor]:
    """Return a container with files in every kind of place."""

    config = ContainerTestConfig(
        image=BUSYBOX,
        volumes={"copy_volume": "/data", "/srv": "/srv"},
        tmpfs={"/memory": "size=64m"},
    )
    with ContainerExecutor(node, config) as container:
        yield container


@pytest.fixture
def fresh(node: Node) -> Iterator[Callable[..., ContainerExecutor]]:
    """Return a function that starts containers for one test, with options of the config."""
    made: list[ContainerExecutor] = []

    def make(node: Node = node, image: str = BUSYBOX, **options: Any) -> ContainerExecutor:
        made.append(ContainerExecutor(node, ContainerTestConfig(image=image, **options)))
        return made[-1].start()

    yield make
    for container in made:
        container.keep = False
        container.stop()


def make_image(node: Node, name: str, applets: list[str]) -> str:
    """Make an image that holds only some applets of busybox, without passwd and /tmp."""
    engine = Engine.of(node)
    with ContainerExecutor(node, ContainerTestConfig(image=BUSYBOX)) as container:
        busybox = container.run(["cat", "/bin/busybox"]).stdout_bytes
    entries: list[tuple[tarfile.TarInfo, bytes]] = []
    for index, applet in enumerate(applets):
        info = tarfile.TarInfo(f"bin/{applet}")
        info.mode = 0o755
        if index:
            info.type, info.linkname = tarfile.LNKTYPE, f"bin/{applets[0]}"
        entries.append((info, b"" if index else busybox))
    engine.api.import_image_from_data(pack_bytes(entries), f"lisa_container/{name}", "latest")
    return f"lisa_container/{name}"


@pytest.fixture(scope="module")
def no_shell(node: Node) -> str:
    """Make an image without a shell."""
    return make_image(
        node, "no-shell", ["cat", "sleep", "id", "env", "xargs", "stat", "test", "setsid"]
    )


@pytest.fixture(scope="module")
def one_program(node: Node) -> str:
    """Make an image with one program, which cannot wait."""
    return make_image(node, "one-program", ["cat"])


@pytest.fixture(scope="module")
def no_sleep(node: Node) -> str:
    """Make an image with a shell but without sleep."""
    return make_image(node, "no-sleep", ["sh", "ps", "cat"])


def processes(machine: SandboxNode, words: str) -> list[str]:
    """List the command lines on the node, containers included, that contain these words."""
    lines = machine.run("ps -eo args").stdout.splitlines()
    return [line for line in lines if words in line and not line.startswith("ps ")]
