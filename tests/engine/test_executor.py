"""Containers on a real engine, over real SSH."""

from __future__ import annotations

from lisa.node import Node

from conftest import BUSYBOX
from lisa_container import ContainerExecutor, ContainerTestConfig


def test_streams_and_exit_code(node: Node) -> None:
    with ContainerExecutor(node, ContainerTestConfig(image=BUSYBOX)) as container:
        result = container.run("echo out; echo err >&2; exit 3")
        assert (result.stdout, result.stderr, result.exit_code) == ("out", "err", 3)
