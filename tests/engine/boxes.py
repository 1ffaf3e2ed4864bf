"""Fixtures of the tests of containers (`pytest_plugins = ["boxes"]`), and ways to look behind."""

from __future__ import annotations

import tarfile
import time
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from conftest import BUSYBOX
from lisa.node import Node

from lisa_container import ContainerExecutor, ContainerTestConfig
from lisa_container.engine.archive import pack_bytes
from lisa_container.engine.client import Engine
from lisa_container.platforms.sandbox import SandboxNode


@pytest.fixture(scope="module")
def box(node: Node) -> Iterator[ContainerExecutor]:
    """A container for the tests that leave it as it was."""
    with ContainerExecutor(node, ContainerTestConfig(image=BUSYBOX)) as container:
        yield container


@pytest.fixture
def fresh(node: Node) -> Iterator[Callable[..., ContainerExecutor]]:
    """Makes started containers, which end with the test; arguments are those of the config."""
    made: list[ContainerExecutor] = []

    def make(node: Node = node, image: str = BUSYBOX, **options: Any) -> ContainerExecutor:
        made.append(ContainerExecutor(node, ContainerTestConfig(image=image, **options)))
        return made[-1].start()

    yield make
    for container in made:
        container.keep = False
        container.stop()


def make_image(node: Node, name: str, applets: list[str]) -> str:
    """An image of nothing but static programs: busybox under other names. No passwd, no /tmp."""
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
    """An image without any shell."""
    return make_image(node, "no-shell", ["cat", "sleep", "id", "env", "xargs", "stat", "test"])


@pytest.fixture(scope="module")
def one_program(node: Node) -> str:
    """An image of one program, which does not even wait."""
    return make_image(node, "one-program", ["cat"])


@pytest.fixture(scope="module")
def no_sleep(node: Node) -> str:
    """An image with a shell and without sleep."""
    return make_image(node, "no-sleep", ["sh", "ps", "cat"])


def processes(machine: SandboxNode, words: str) -> list[str]:
    """Command lines on the node, containers included, with these words in them."""
    lines = machine.run("ps -eo args").stdout.splitlines()
    return [line for line in lines if words in line and not line.startswith("ps ")]


def eventually(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """Wait until something is so; what it gave."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not in {seconds} seconds"
        time.sleep(0.05)
