"""The toolbox for container runtimes on a LISA node: over SSH, with sudo, images of its engine."""

from __future__ import annotations

from lisa.node import Node

from lisa_container.config import ContainerTestConfig
from lisa_container.engine.client import Engine
from lisa_container.images import ensure_image
from lisa_container.runtimes import Expect, NodeMachine, OciRuntime, Workspace, no_leaks

IMAGE = "lisa_container/busybox"


def test_image_of_the_engine(node: Node) -> None:
    ensure_image(Engine.of(node), ContainerTestConfig(image=IMAGE))  # connects to the engine
    with no_leaks(node, folders=["/var/lib/lisa_container_runtimes"]):
        with Workspace(node) as workspace:
            command = ["sh", "-c", "echo hello; exit 4"]
            bundle = workspace.oci_bundle(IMAGE, source=node, command=command)
            result = OciRuntime(workspace).run(bundle)
            assert (result.stdout, result.exit_code) == ("hello", 4), result
        Expect(node).empty("/var/lib/lisa_container_runtimes")


def test_commands(node: Node) -> None:
    """Commands are root's, and read large inputs while they print."""
    machine = NodeMachine(node)
    assert machine.run("id -u; echo err >&2; exit 3").exit_code == 3
    data = b"x" * 3_000_000
    result = machine.run("cat; id -u >&2", stdin=data)
    assert (result.stdout_bytes, result.stderr) == (data, "0")
    assert machine.run("read -r line; echo $line", stdin="text\nmore\n").stdout == "text"
