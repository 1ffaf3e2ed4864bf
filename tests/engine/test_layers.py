"""Images made of layers, on a real engine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from lisa.node import Node

from lisa_container import ConfigError, ContainerExecutor, ContainerTestConfig, DockerAdvanced
from lisa_container.engine.client import Engine
from lisa_container.errors import ImageArchiveError
from lisa_container.images import LayeredImage, LayerEntry, ensure_image, image_from_layers
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import connect_as, disconnect


def image_of(machine: SandboxNode, what: str) -> LayeredImage:
    """Return an image of busybox and a script; `what` makes it differ for each test."""
    busybox = Path(f"/proc/{machine.pid}/root/bin/busybox")
    links = {f"bin/{name}": LayerEntry.symlink("busybox") for name in ("sh", "sleep", "cat", "ls")}
    return image_from_layers(
        [
            {"bin/busybox": busybox, **links, "etc/motd": b"old", "etc/gone": b"", "tmp/x": b""},
            {
                "bin/hello": b'#!/bin/sh\necho "hello $WHO from $(pwd)"\n',
                "etc/motd": what.encode(),
                "etc/gone": LayerEntry.whiteout(),
                "tmp/y": b"",
                "srv": LayerEntry.folder(mode=0o750),
            },
        ],
        cmd=["hello"],
        env={"WHO": "you", "PATH": "/bin"},
        working_dir="/srv",
    )


def test_run_on_a_node(node: Node, machine: SandboxNode) -> None:
    """An image of layers runs like any other, is loaded once, and goes with the lease."""
    image = image_of(machine, "run")
    config = ContainerTestConfig(image=image.reference)
    with ContainerExecutor(node, config) as container:
        assert container.run("hello").stdout == "hello you from /srv"
        assert container.run("cat /etc/motd; ls /etc/gone /tmp", merge_stderr=True).stdout == (
            "runls: /etc/gone: No such file or directory\n/tmp:\nx\ny"
        )
        assert container.run("ls -ld /tmp").stdout.startswith("drwxrwxrwt")
        first = container.inspect()["Image"]
    docker = node.tools[DockerAdvanced]
    assert docker.run_in_container(image.reference).stdout == "hello you from /srv"
    with ContainerExecutor(node, config) as container:
        assert container.inspect()["Image"] == first
    # An image that was removed by hand is loaded again.
    docker.remove_image(image.reference, force=True)
    with ContainerExecutor(node, config) as container:
        assert container.run("cat /etc/motd").stdout == "run"


def test_goes_with_the_lease(machine: SandboxNode) -> None:
    image = image_of(machine, "lease")
    node = connect_as(machine, "root")
    engine = Engine.of(node)
    ensure_image(engine, ContainerTestConfig(image=image.reference))
    shown = machine.run(f"docker image inspect {image.reference}").stdout
    assert '"lisa_container.lease"' in shown
    before = set(machine.run("docker images -aq").stdout.split())
    disconnect(node)
    after = set(machine.run("docker images -aq").stdout.split())
    assert len(before - after) == 1
    assert machine.run(f"docker image inspect {image.reference}", check=False).returncode == 1


def test_of_another_process(node: Node) -> None:
    reference = "lisa_container/layers:0123456789abcdef"
    with pytest.raises(ConfigError, match="call image_from_layers first"):
        ContainerExecutor(node, ContainerTestConfig(image=reference)).start()


def test_file_removed_before_shipping(node: Node, machine: SandboxNode, tmp_path: Path) -> None:
    """An image that could not be sent completely leaves nothing on the node."""
    (tmp_path / "big").write_bytes(b"x" * 3_000_000)
    image = image_from_layers([{"small": b""}, {"big": tmp_path / "big"}])
    (tmp_path / "big").write_bytes(b"y" * 3_000_000)
    before = machine.run("docker images -aq").stdout
    with pytest.raises(ImageArchiveError, match="call image_from_layers again"):
        ContainerExecutor(node, ContainerTestConfig(image=image.reference)).start()
    assert machine.run("docker images -aq").stdout == before
    assert machine.run("ls /var/lib/docker/tmp").stdout == ""


def test_docker_load(machine: SandboxNode, tmp_path: Path) -> None:
    """The engine gives an image the id that was computed here."""
    image = image_of(machine, "load")
    archive = image.save(tmp_path / "image.tar", name="tests/hello:1")
    shutil.copy(archive, f"/proc/{machine.pid}/root/root/image.tar")
    said = machine.run("docker load -i /root/image.tar; rm /root/image.tar").stdout
    assert said == "Loaded image: tests/hello:1\n"
    try:
        assert machine.run("docker run --rm tests/hello:1").stdout == "hello you from /srv\n"
        shown = machine.run(
            "docker image inspect -f '{{.Id}} {{.Architecture}}' tests/hello:1"
        ).stdout
        assert shown.split() == [image.id, image.platform.split("/")[1]]
    finally:
        machine.run("docker rmi tests/hello:1")
