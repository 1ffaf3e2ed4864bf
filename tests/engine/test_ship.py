"""Images shipped to nodes: only missing layers are sent, even after failures."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from func_timeout import FunctionTimedOut, func_timeout
from lisa.node import Node

from lisa_container import ConfigError, ContainerExecutor, ContainerTestConfig
from lisa_container.engine.client import Engine
from lisa_container.errors import ImageArchiveError, ImageNameTakenError, ShipError
from lisa_container.images import LayeredImage, LayerEntry, image_from_layers, ship
from lisa_container.images.send import send
from lisa_container.platforms.sandbox import Sandbox, SandboxNode, start_sandbox
from tests.support.engines import cut_connections
from tests.support.nodes import BUSYBOX, connect_as, disconnect
from tests.support.waiting import eventually

NAME = "tests/tool:1"
MB = 1_000_000


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with start_sandbox(3) as running:
        yield running


@pytest.fixture(scope="module")
def nodes(sandbox: Sandbox) -> Iterator[list[Node]]:
    """Connect to the nodes as a user with sudo."""
    connected = [connect_as(machine, "sudo") for machine in sandbox.nodes]
    yield connected
    for node in connected:
        disconnect(node)


@pytest.fixture(autouse=True)
def no_images(sandbox: Sandbox) -> None:
    """Remove all images of the tests from the nodes."""
    for machine in sandbox.nodes:
        machine.run("docker rmi -f $(docker images -q) 2>/dev/null || true")


def image_of(machine: SandboxNode, *layers: bytes) -> LayeredImage:
    """Return an image of busybox and of layers with a file each."""
    busybox = Path(f"/proc/{machine.pid}/root/bin/busybox")
    links = {f"bin/{name}": LayerEntry.symlink("busybox") for name in ("sh", "sleep", "cat")}
    lowest: dict[str, Any] = {"bin/busybox": busybox, **links}
    above = [{f"data/{number}": content} for number, content in enumerate(layers)]
    return image_from_layers([lowest, *above], cmd=["cat", f"/data/{len(layers) - 1}"])


def images(machine: SandboxNode, *options: str) -> list[str]:
    words = ["docker", "images", "--format", "{{.Repository}}:{{.Tag}}", *options]
    return sorted(machine.run(words).stdout.split())


def received(machine: SandboxNode) -> int:
    """Return the number of bytes that the node's network has received."""
    lines = machine.run("cat /proc/net/dev").stdout.splitlines()[2:]
    return sum(int(x.split()[1]) for x in lines if not x.strip().startswith("lo:"))


def test_a_changed_top_layer(nodes: list[Node], sandbox: Sandbox, tmp_path: Path) -> None:
    """Only a changed layer is sent, whether the others were loaded, shipped or built upon."""
    loaded, _, built = sandbox.nodes
    base, top = os.urandom(8 * MB), os.urandom(4 * MB)
    old = image_of(loaded, base, b"old").save(tmp_path / "old.tar", "tests/old:1")
    for machine in (loaded, built):
        machine.run("cat >/root/old.tar", stdin="")
        Path(f"/proc/{machine.pid}/root/root/old.tar").write_bytes(old.read_bytes())
        machine.run("docker load -i /root/old.tar; rm /root/old.tar")
    built.run("echo FROM tests/old:1 >/root/Dockerfile; echo RUN true >>/root/Dockerfile")
    built.run("docker build -t tests/built:1 - </root/Dockerfile; docker rmi tests/old:1")
    (first,) = ship(old, [nodes[1]])
    assert first.sent > 8 * MB

    new = image_of(loaded, base, top).save(tmp_path / "new.tar", NAME)
    before = [received(machine) for machine in sandbox.nodes]
    done = ship(new, nodes)
    after = [received(machine) for machine in sandbox.nodes]
    assert [each.node for each in done] == [machine.name + "-sudo" for machine in sandbox.nodes]
    for each, begin, end in zip(done, before, after):
        assert (each.reference, each.layers) == (NAME, 1)
        assert 4 * MB < each.sent < 1.1 * 4 * MB
        assert 4 * MB < end - begin < 1.1 * 4 * MB
    # Once more: nothing.
    assert [each.sent for each in ship(new, nodes)] == [0, 0, 0]
    config = ContainerTestConfig(image=NAME, pull_policy="never")
    for node in nodes:
        with ContainerExecutor(node, config) as container:
            assert container.run("cat /data/1").stdout_bytes == top


def test_goes_with_the_run_or_stays(sandbox: Sandbox, tmp_path: Path) -> None:
    machine = sandbox.nodes[0]
    node = connect_as(machine, "root")
    image = image_of(machine, b"x")
    archive = image.save(tmp_path / "x.tar", NAME)
    (kept,) = ship(archive, [node], name="tests/kept", keep=True)
    (gone,) = ship(image, [node], name=NAME)
    assert (kept.reference, kept.id) == ("tests/kept:latest", image.id)
    assert (gone.layers, gone.id == image.id) == (0, False)
    assert "lisa_container.lease" in machine.run(["docker", "inspect", NAME]).stdout
    assert images(machine) == ["tests/kept:latest", NAME]
    disconnect(node)
    assert images(machine) == ["tests/kept:latest"]


def test_name_taken(nodes: list[Node], sandbox: Sandbox) -> None:
    """`ship` takes another image's name only with `keep`; a name of this run moves."""
    machine, node = sandbox.nodes[0], nodes[0]
    first, second = image_of(machine, b"first"), image_of(machine, b"second")
    ship(first, [node], name=NAME, keep=True)
    with pytest.raises(ShipError, match="which this run has not brought") as caught:
        ship(second, [node], name=NAME)
    assert isinstance(caught.value.failures[0][1], ImageNameTakenError)
    (moved,) = ship(second, [node], name=NAME, keep=True)
    assert moved.id == second.id

    ship(first, [node], name="tests/ours")
    ship(first, [node], name="tests/second")
    (again,) = ship(second, [node], name="tests/ours")
    run = machine.run(["docker", "run", "--rm", "tests/ours"])
    assert (run.stdout, again.layers) == ("second", 0)
    assert machine.run(["docker", "run", "--rm", "tests/second"]).stdout == "first"
    (line,) = machine.run("docker images -q -f dangling=true").stdout.split()
    assert line in first.id, "the one that lost its name was to stay"


def test_a_cut_connection(
    nodes: list[Node], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shipment continues after a cut; layers that had arrived are under the lease."""
    machine, node = sandbox.nodes[0], nodes[0]
    monkeypatch.setattr(send, "_PORTION", 2 * MB)
    layers = [os.urandom(3 * MB) for _ in range(4)]
    image = image_of(machine, *layers)
    seen: list[int] = []
    parts: list[str] = []

    def on_progress(name: str, done: int, total: int) -> None:
        assert name == node.name and 0 < done <= total == image.size
        if done > 8 * MB and not parts:
            parts.extend(
                machine.run("docker images -q -f label=lisa_container.lease").stdout.split()
            )
            cut_connections(machine, machine.username)
        seen.append(done)

    (done,) = ship(image, [node], on_progress=on_progress)
    assert len(parts) >= 2
    back = [(one, other) for one, other in zip(seen, seen[1:]) if other < one]
    assert len(back) == 1 and back[0][1] > 6 * MB, "what had arrived was sent again"
    assert seen[-1] == image.size and done.sent < image.size + 4 * MB
    assert images(machine) == [image.reference]
    said = machine.run(f"docker run --rm {image.reference} | sha256sum").stdout
    assert said.split()[0] == hashlib.sha256(layers[-1]).hexdigest()
    assert machine.run("ls /var/lib/docker/tmp").stdout == ""


def test_nodes_that_fail(nodes: list[Node], sandbox: Sandbox) -> None:
    """A shipment reaches the other nodes; the error names those that failed, and why."""
    machine = sandbox.nodes[1]
    image = image_of(machine, b"y")
    Engine.of(nodes[1])
    machine.run("pkill dockerd; while pgrep dockerd; do sleep 0.1; done")
    try:
        with pytest.raises(ShipError, match="did not reach 1 of 3 nodes") as caught:
            ship(image, nodes)
    finally:
        machine.run("/etc/init.d/docker start; until docker version; do sleep 0.1; done")
    assert [name for name, _ in caught.value.failures] == [nodes[1].name]
    assert "does not answer" in str(caught.value) or "no container engine" in str(caught.value)
    assert [each.node for each in caught.value.shipped] == [nodes[0].name, nodes[2].name]
    assert images(sandbox.nodes[2]) == [image.reference]
    assert [each.layers for each in ship(image, nodes)] == [0, 2, 0]


def test_from_a_node(nodes: list[Node], sandbox: Sandbox) -> None:
    """A node's image, made there if it is missing, is shipped to others and itself."""
    done = ship(BUSYBOX, nodes[1:], source=nodes[1])
    assert [each.layers for each in done] == [0, 1]
    with ContainerExecutor(nodes[2], ContainerTestConfig(image=BUSYBOX)) as container:
        assert container.run("echo ran").stdout == "ran"


def test_missing_layer(
    nodes: list[Node], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that lacks a layer, contrary to its answer, gets all layers."""
    image = image_of(sandbox.nodes[0], b"z" * MB)
    monkeypatch.setattr(send, "missing_layers", lambda engine, diff_ids: [1])
    (done,) = ship(image, [nodes[0]])
    assert done.layers == 2
    assert sandbox.nodes[0].run(["docker", "run", "--rm", image.reference]).stdout[:2] == "zz"


def test_packed(nodes: list[Node], sandbox: Sandbox, tmp_path: Path) -> None:
    """Layers are compressed if that makes them smaller, and sent as they are otherwise."""
    image = image_of(sandbox.nodes[0], b"word " * MB)
    (plain,) = ship(image, [nodes[0]])
    assert plain.sent < image.size / 4
    (first,) = ship(image, [nodes[1]], keep=True)
    assert first.sent == pytest.approx(plain.sent, abs=2048)


def test_interrupted(nodes: list[Node], sandbox: Sandbox) -> None:
    """An interrupt, as by LISA's case timeout, leaves nothing behind and stops all senders."""
    image = image_of(sandbox.nodes[0], os.urandom(30 * MB))
    seen: list[int] = []

    def slowly(name: str, done: int, total: int) -> None:
        seen.append(done)
        time.sleep(0.1)

    with pytest.raises(FunctionTimedOut):
        func_timeout(4, ship, (image, nodes[:1]), {"on_progress": slowly})
    assert seen
    eventually(lambda: "ship" not in [thread.name for thread in threading.enumerate()])
    count = len(seen)
    assert images(sandbox.nodes[0]) == []
    assert eventually(lambda: sandbox.nodes[0].run("ls /var/lib/docker/tmp").stdout == "")
    assert len(seen) == count and seen[-1] < image.size


def test_a_caller_that_fails(nodes: list[Node], sandbox: Sandbox) -> None:
    def on_progress(name: str, done: int, total: int) -> None:
        raise RuntimeError("enough")

    with pytest.raises(ShipError, match="enough"):
        ship(image_of(sandbox.nodes[0], b""), nodes[:1], on_progress=on_progress)
    assert images(sandbox.nodes[0]) == []


def test_wrong_arguments(nodes: list[Node], tmp_path: Path) -> None:
    """Wrong arguments are refused before any request."""
    image = image_from_layers([{"a": b""}])
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        ("debian:12", {}, "together with the node that has it"),
        (__file__, {}, "an archive is given as a Path"),
        (image, {"source": nodes[0]}, "with the name of an image only"),
        (image, {"name": "Tool"}, "did you mean 'tool'"),
        (image, {"platform": "x"}, "platform"),
        (3, {}, "the result of image_from_layers"),
    ]
    for given, options, message in wrong:
        with pytest.raises(ConfigError, match=message):
            ship(given, nodes, **options)
    with pytest.raises(ConfigError, match="at least one node"):
        ship(image, [])
    with pytest.raises(ImageArchiveError, match="does not exist"):
        ship(tmp_path / "none.tar", nodes)
    (tmp_path / "bad.tar").write_bytes(b"x" * 600)
    with pytest.raises(ImageArchiveError):
        ship(tmp_path / "bad.tar", nodes)
    with pytest.raises(ConfigError, match="name='team/tool:1'"):
        path = image.save(tmp_path / "nameless.tar")
        path.write_bytes(b"".join(image.stream()))
        ship(path, nodes)
