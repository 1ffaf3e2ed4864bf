"""Rootful podman through its Docker-compatible API behaves like Docker."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lisa.node import Node

from lisa_container import ContainerExecutor, ContainerTestConfig
from lisa_container.config.privileges import CAPABILITIES
from lisa_container.container.result import CommandResult
from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.engine.client import Engine
from lisa_container.engine.lease.report import list_resources
from lisa_container.errors import (
    CommandTimeoutError,
    EngineError,
    ImageNotFoundError,
    NameTakenError,
)
from lisa_container.evidence import (
    begin_of,
    default_noise_rules,
    find_changes,
    take_state,
)
from lisa_container.fleet import Fleet
from lisa_container.images import LayerEntry, image_from_layers, ship
from lisa_container.install import Tool, remove_layers
from lisa_container.platforms.sandbox import SandboxNode, start_sandbox
from tests.support.engines import MORE_PACKAGES
from tests.support.nodes import BUSYBOX, connect_as, disconnect
from tests.support.plans import run_sample
from tests.support.runs import commands_of
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def podman_machine() -> Iterator[SandboxNode]:
    """Return a node with podman, and with a Docker Engine that must not be started."""
    with start_sandbox(1, packages=MORE_PACKAGES, docker=False) as sandbox:
        machine = sandbox.nodes[0]
        machine.run("rm /etc/init.d/docker /usr/sbin/dockerd")
        # podman's storage does not work on top of an overlay either.
        machine.run("mkdir -p /var/lib/docker/podman /var/lib/containers")
        machine.run("mount --bind /var/lib/docker/podman /var/lib/containers")
        yield machine


@pytest.fixture(scope="module", params=["root", "sudo"])
def podman_node(request: pytest.FixtureRequest, podman_machine: SandboxNode) -> Iterator[Node]:
    node = connect_as(podman_machine, request.param)
    yield node
    Engine.forget(node)
    disconnect(node)


@pytest.fixture(scope="module")
def podman(podman_node: Node) -> DockerAdvanced:
    """Return the tool, which has started podman's service."""
    return podman_node.tools[DockerAdvanced]


def test_engine(podman: DockerAdvanced, podman_machine: SandboxNode) -> None:
    engine = podman.engine
    assert engine.kind == "podman"
    assert engine.version == podman_machine.run("podman --version").stdout.split()[-1]
    assert engine.ping()
    assert podman.command == "podman"
    assert "conmon" in podman.info()


def test_run(podman: DockerAdvanced) -> None:
    result = podman.run_in_container(BUSYBOX, "echo out; echo err >&2; exit 3")
    assert (result.stdout, result.stderr, result.exit_code) == ("out", "err", 3)
    assert podman.list(all=True) == []


def test_commands_that_cannot_run(podman: DockerAdvanced) -> None:
    assert podman.run_in_container(BUSYBOX, ["there-is-none"]).exit_code == 127
    assert podman.run_in_container(BUSYBOX, ["/etc/passwd"]).exit_code == 126
    with pytest.raises(EngineError):
        podman.run_in_container(BUSYBOX, "true", working_dir="/etc/passwd")
    assert podman.list(all=True) == []


def test_timeout(podman: DockerAdvanced) -> None:
    with pytest.raises(CommandTimeoutError, match="so far"):
        podman.run_in_container(BUSYBOX, "echo so far; sleep 100", timeout=0.5)
    assert podman.list(all=True) == []


def test_out_of_memory(podman: DockerAdvanced) -> None:
    eat = "head -c 100m /dev/zero | tail > /dev/null; exit $?"
    result = podman.run_in_container(BUSYBOX, eat, memory="16m")
    assert isinstance(result, CommandResult)
    assert result.exit_code == 137


def test_out_of_memory_while_it_runs(podman_node: Node) -> None:
    """A kill at the memory limit is found in the control group, without an event."""
    config = ContainerTestConfig(image=BUSYBOX, memory="16m")
    with ContainerExecutor(podman_node, config) as container:
        for command, code, stdin in (
            ("exec tail /dev/zero", 137, None),
            (["tail", "/dev/zero"], 137, None),
            ("tail /dev/zero; exit 2", 2, None),
            ("tail /dev/zero; true", 0, None),
            ("tail /dev/zero; true", 0, io.BytesIO(b"")),
        ):
            result = container.run(command, stdin=stdin)
            assert (result.exit_code, result.oom_killed) == (code, True), command
            for killer in (None, io.BytesIO(b"")):
                killed = container.run("kill -9 $$", stdin=killer)
                assert (killed.exit_code, killed.oom_killed) == (137, False)


def test_errors(podman: DockerAdvanced) -> None:
    container = podman.create_container(BUSYBOX, "true", name="taken")
    try:
        with pytest.raises(NameTakenError):
            podman.run_in_container(BUSYBOX, "true", name="taken")
    finally:
        podman.remove_container(container, force=True)
    with pytest.raises(ImageNotFoundError):
        podman.run_in_container("tests/there-is-none", "true", pull_policy="never")
    with pytest.raises(EngineError):
        podman.inspect("there-is-none")


def test_exec(podman: DockerAdvanced) -> None:
    podman.run_in_container(BUSYBOX, ["sleep", "1000"], detach=True, remove=False, name="idle")
    try:
        result = podman.exec_in_container("idle", "cat; echo err >&2; exit 3", stdin="in\n")
        assert (result.stdout, result.stderr, result.exit_code) == ("in", "err", 3)
    finally:
        podman.remove_container("idle", force=True)


def test_detach(podman: DockerAdvanced) -> None:
    container = podman.run_in_container(BUSYBOX, ["sleep", "0.5"], detach=True).stdout
    assert eventually(lambda: container not in [x["Id"] for x in podman.list(all=True)])


def test_privileged(podman: DockerAdvanced) -> None:
    """A privileged container has all capabilities of the service's bounding set."""
    script = "grep CapEff /proc/self/status; grep Seccomp: /proc/self/status"
    shown = podman.run_in_container(BUSYBOX, script, privileged=True, expected_exit_code=0).stdout
    _, bits, _, seccomp = shown.split()
    has = {name for bit, name in enumerate(CAPABILITIES) if int(bits, 16) >> bit & 1}
    assert has == set(podman.engine.capabilities.granted)
    assert seccomp == "0"


def test_limits(podman: DockerAdvanced) -> None:
    """A config's limits are set without those of podman that need CAP_SYS_RESOURCE."""
    limits = {"nofile": "100:200"}
    result = podman.run_in_container(BUSYBOX, "ulimit -Sn; ulimit -Hn", ulimits=limits)
    assert result.stdout.split() == ["100", "200"], result.stderr


def test_sdk(podman: DockerAdvanced) -> None:
    """The SDK's client creates, starts, waits for and removes a container.

    It does not use `containers.run`, which may follow the log of an ended container for ever
    (podman 4.3).
    """
    container = podman.client.containers.create(BUSYBOX, ["echo", "hello"])
    container.start()
    assert container.wait(timeout=60)["StatusCode"] == 0
    assert container.logs() == b"hello\n"
    container.remove()


def test_executor(podman: DockerAdvanced, podman_node: Node) -> None:
    with ContainerExecutor(podman_node, ContainerTestConfig(image=BUSYBOX)) as container:
        result = container.run("echo out; echo err >&2; exit 3")
        assert (result.stdout, result.stderr, result.exit_code) == ("out", "err", 3)
        # LISA's commands have a terminal, from a resident shell or from the engine's exec.
        script = "test -t 0 && echo on; echo $TERM $USER; : </dev/tty && exit 3"
        for _ in range(2):
            inside = container.node.execute(script, shell=True)
            assert (inside.stdout, inside.exit_code) == ("on\r\nvt100 root", 3)
            container._sessions._unable["", True] = False  # type: ignore[union-attr]


def test_image_of_layers(
    podman: DockerAdvanced, podman_node: Node, podman_machine: SandboxNode, tmp_path: Path
) -> None:
    """An image of layers is loaded through the API, and by `podman load` of its archive."""
    root = Path(f"/proc/{podman_machine.pid}/root")
    links = {f"bin/{name}": LayerEntry.symlink("busybox") for name in ("sh", "sleep")}
    image = image_from_layers(
        [{"bin/busybox": root / "bin/busybox", **links}, {"bin/hello": b"#!/bin/sh\necho hello\n"}],
        cmd=["hello"],
        env={"PATH": "/bin"},
    )
    with ContainerExecutor(podman_node, ContainerTestConfig(image=image.reference)) as container:
        assert container.run("hello").stdout == "hello"
        assert podman.labels["lisa_container.lease"] in str(container.inspect()["Config"]["Labels"])
    image.save(root / "root/image.tar", name="localhost/tests/hello:1")
    podman_machine.run("podman load -i /root/image.tar; rm /root/image.tar")
    try:
        shown = podman_machine.run(
            "podman image inspect -f '{{.Id}}' localhost/tests/hello:1"
        ).stdout
        assert f"sha256:{shown.strip()}" == image.id
        result = podman.run_in_container("localhost/tests/hello:1", pull_policy="never")
        assert result.stdout == "hello"
    finally:
        podman_machine.run("podman rmi localhost/tests/hello:1")


def test_ship(podman: DockerAdvanced, podman_node: Node, podman_machine: SandboxNode) -> None:
    """Only the changed layer is sent, from an archive and from podman's own store."""
    root = Path(f"/proc/{podman_machine.pid}/root")
    lower = {
        "bin/busybox": root / "bin/busybox",
        "bin/sh": LayerEntry.symlink("busybox"),
        "bin/cat": LayerEntry.symlink("busybox"),
        "bin/sleep": LayerEntry.symlink("busybox"),
    }
    images = [image_from_layers([lower, {"x": each}], cmd=["cat", "/x"]) for each in (b"1", b"2")]
    for image, layers in zip(images, (2, 1)):
        (done,) = ship(image, [podman_node], name="tests/shipped")
        assert done.layers == layers
    result = podman.run_in_container("tests/shipped", pull_policy="never")
    assert result.stdout == "2"
    assert "lisa_container.lease" in str(podman.engine.api.inspect_image("tests/shipped")["Config"])
    (kept,) = ship(
        "tests/shipped", [podman_node], source=podman_node, name="tests/other", keep=True
    )
    try:
        assert kept.layers == 0
        assert podman.run_in_container("tests/other", pull_policy="never").stdout == "2"
    finally:
        podman.remove_image("tests/other")


def test_tools_in_a_layer(podman: DockerAdvanced, podman_node: Node, tmp_path: Path) -> None:
    (tmp_path / "hello").write_text("#!/bin/sh\necho hello 1.2\n")
    tool = Tool("hello", version="1.2", file=str(tmp_path / "hello"))
    found = []
    for _ in range(2):
        with ContainerExecutor(podman_node, ContainerTestConfig(image=BUSYBOX)) as container:
            found += container.install(tool, cached=True)
            assert container.run("hello").stdout == "hello 1.2"
    assert [each.from_cache for each in found] == [False, True]
    base, layer = (
        podman.engine.api.inspect_image(name)["Config"] for name in (BUSYBOX, found[0].layer)
    )
    assert (layer["Cmd"], layer.get("Entrypoint") or []) == (base["Cmd"], [])
    assert layer["Labels"]["lisa_container.lease"] == ""
    image = podman.engine.api.inspect_image(found[0].layer)["Id"]
    leased = [item.id for item in list_resources(podman.engine) if item.what == "image"]
    assert not [each for each in leased if image.endswith(each.rpartition(":")[2])]
    assert [name.endswith(found[0].layer) for name in remove_layers(podman.engine)] == [True]


def test_fleet(podman_node: Node) -> None:
    """Members find each other by name; a port and a request are found as on Docker."""
    serve = "mkdir /www; hostname >/www/index.html; exec httpd -f -p 80 -h /www"
    ready = [{"port": 80}, {"http": 80}]
    web = ContainerTestConfig(
        image=BUSYBOX, command=["sh", "-c", serve], init="engine", ready=ready
    )
    with Fleet(podman_node, web, 2, "web") as fleet:
        for name in fleet.members:
            said = fleet.map(f"wget -q -O - http://{name}/")
            assert [x.stdout for x in said.values()] == [name, name], said
        fleet["web-1"].kill()
        assert fleet.dead() == ["web-1"] and fleet.replace_dead() == ["web-1"]
        fleet.map("true").raise_failures()


def test_capture(podman_node: Node, tmp_path: Path) -> None:
    """Records, changes, files and the state of a container are captured."""
    config = ContainerTestConfig(image=BUSYBOX, measure=True)
    with ContainerExecutor(podman_node, config) as container:
        container.capture_to(tmp_path)
        engine, name = container.engine, container.name
        begin = begin_of(engine, name)
        container.run("echo out; echo new >/new")
        container.capture_to(None)
        (record,) = commands_of(tmp_path)
        assert (record["stdout"]["text"], record["resources"]["shared"]) == ("out\n", False)
        found = find_changes(engine, name, begin, default_noise_rules(), time.monotonic() + 60)
        assert [(each["path"], each["size"]) for each in found["added"]] == [("/new", 4)]
        assert [path.name for path in container.collect(["/ne*"], tmp_path)] == ["new"]
        state = take_state(engine, name, tmp_path, container.capture.masking, "why", 9.0, 1 << 20)
        assert (state["running"], state["problems"]) == (True, [])


def test_plan(podman_node: Node, tmp_path: Path) -> None:
    run_sample(podman_node, tmp_path)


@pytest.mark.sampled(1)
def test_image_of_the_root(podman: DockerAdvanced, podman_node: Node) -> None:
    image = "lisa_container/root"
    with ContainerExecutor(podman_node, ContainerTestConfig(image=image)) as container:
        assert container.run("dpkg --status dpkg | head -1").stdout == "Package: dpkg"
    labels = podman.engine.api.inspect_image(image)["Config"]["Labels"]
    assert labels["lisa_container.lease"] == podman.labels["lisa_container.lease"]
    podman.remove_image(image, force=True)


def test_own_process(podman: DockerAdvanced, podman_node: Node) -> None:
    """A container's own first process is awaited and ends by its own signal."""
    script = "trap 'exit 3' TERM; touch /up; while :; do sleep 0.1; done"
    config = ContainerTestConfig(image=BUSYBOX, command=["sh", "-c", script], ready="test -e /up")
    with ContainerExecutor(podman_node, config) as container:
        assert container.run("tr '\\0' ' ' </proc/1/cmdline").stdout.startswith("sh -c trap")
        before = container.inspect()["State"]["StartedAt"]
        container.run("rm /up")
        container.restart()
        assert container.run("ls /up").exit_code == 0
        assert container.inspect()["State"]["StartedAt"] != before
