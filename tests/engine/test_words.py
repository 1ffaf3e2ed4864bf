"""LISA's and Docker's different words for one option, and errors of exchanged values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from lisa.node import Node

from lisa_container import (
    ConfigError,
    ContainerExecutor,
    ContainerTestConfig,
    EngineError,
    ImageNotFoundError,
)
from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import BUSYBOX

pytest_plugins = ["tests.support.boxes"]

Run = Callable[..., str]

COMMAND = "pwd; echo $GIVEN"


def _run(box: ContainerExecutor, **options: Any) -> str:
    return box.run(COMMAND, **options).stdout


def _run_async(box: ContainerExecutor, **options: Any) -> str:
    return box.run_async(COMMAND, **options).wait(20).stdout


def _exec(box: ContainerExecutor, **options: Any) -> str:
    return box.docker.exec_in_container(box.name, COMMAND, **options).stdout


@pytest.mark.parametrize("run", [_run, _run_async, _exec])
def test_either_word(box: ContainerExecutor, run: Run) -> None:
    """LISA's words and Docker's mean the same, and both at once are refused."""
    for folder in ("cwd", "working_dir"):
        for variables in ("update_envs", "environment"):
            output = run(box, **{folder: "/tmp", variables: {"GIVEN": "text"}})
            assert output.split() == ["/tmp", "text"], (folder, variables)
    with pytest.raises(ConfigError, match="'cwd' and 'working_dir': both are given.*give one"):
        run(box, cwd="/tmp", working_dir="/tmp")
    with pytest.raises(ConfigError, match="'update_envs' and 'environment': both are given"):
        run(box, update_envs={}, environment={"GIVEN": "text"})


def test_docker_of_the_node(root_node: Node) -> None:
    """`container.docker` uses the executor's connection; its creation breaks no command."""
    with ContainerExecutor(root_node, ContainerTestConfig(image=BUSYBOX)) as container:
        engine = container.engine
        running = container.run_async(["sh", "-c", "sleep 1; echo done"])
        assert container.docker is root_node.tools[DockerAdvanced]
        assert container.docker.engine is engine
        names = [name for item in container.docker.list() for name in item["Names"]]
        assert f"/{container.name}" in names
        assert running.wait(20).stdout == "done"


def test_volume_that_the_node_lacks(
    node: Node, machine: SandboxNode, logged: Callable[[], str]
) -> None:
    """Only a volume with exchanged sides causes a warning, not a path that exists."""
    machine.run("mkdir -m 700 /root/closed; mkdir /root/closed/inside")
    volumes = {
        "/srv": "/a",
        "/root/closed/inside": "/b",
        "a_volume": "/c",
        "/lisa_container_none": "/etc/none:ro",
    }
    try:
        with ContainerExecutor(node, ContainerTestConfig(image=BUSYBOX, volumes=volumes)):
            pass
    finally:
        machine.run("rm -r /root/closed /lisa_container_none")
    (line,) = [line for line in logged().splitlines() if "if they are swapped" in line]
    assert line.startswith("volumes: '/lisa_container_none' is not on node")
    assert line.endswith("write {'/etc/none': '/lisa_container_none'}")


def test_volume_that_the_engine_cannot_make(node: Node) -> None:
    """The error of a refused volume says that its sides may be exchanged."""
    config = ContainerTestConfig(image=BUSYBOX, volumes={"/proc/none": "/etc"})
    with pytest.raises(EngineError, match="/proc/none") as caught:
        ContainerExecutor(node, config).start()
    first, *others = str(caught.value).splitlines()
    assert "mount" in first
    assert others[-1].endswith("if they are swapped, write {'/etc': '/proc/none'}")


@pytest.mark.parametrize("options", [{}, {"registry": "127.0.0.1:1"}])
def test_image_that_the_node_has_and_no_registry_serves(
    box: ContainerExecutor, options: dict[str, str]
) -> None:
    """An error of the registry does not say that the node lacks an image that it has."""
    docker = box.docker
    name = "127.0.0.1:1/there:1"
    docker.client.images.get(BUSYBOX).tag(name)
    asked = "there:1" if options else name
    try:
        with pytest.raises(ImageNotFoundError) as caught:
            docker.pull_image(asked, **options)
        with pytest.raises(ImageNotFoundError) as by_config:
            docker.run_in_container(asked, "true", pull_policy="always", **options)
    finally:
        docker.remove_image(name, force=True)
    for error in (caught, by_config):
        begin = f"image '{name}' is on node '{box.engine.name}', but could not be pulled there"
        assert str(error.value).startswith(begin)
    with pytest.raises(ImageNotFoundError, match="is not available on node"):
        docker.pull_image(asked, **options)


HALF = r"given a text with '\\ud800', half of a character"


@pytest.mark.parametrize(
    ("name", "arguments", "options"),
    [
        ("command", ("echo \ud800",), {}),
        ("command", (["echo", "\ud800"],), {}),
        ("cwd", ("pwd",), {"cwd": "/\ud800"}),
        ("user", ("id",), {"user": "\ud800"}),
        ("environment, key", ("env",), {"environment": {"A\ud800": "b"}}),
        ("environment, value of 'A'", ("env",), {"update_envs": {"A": "secret\ud800"}}),
        ("stdin", ("cat",), {"stdin": "\ud800"}),
    ],
)
def test_halves_of_characters(
    box: ContainerExecutor, name: str, arguments: tuple[Any], options: dict[str, Any]
) -> None:
    """Told by the argument's name, on each way; no value is repeated."""
    for run in (
        box.run,
        box.run_async,
        lambda *words, **more: box.docker.exec_in_container(box.name, *words, **more),
    ):
        with pytest.raises(ConfigError, match=f"^{name}: {HALF}") as caught:
            run(*arguments, **options)
        assert "secret" not in str(caught.value)
    if name == "command":
        with pytest.raises(ConfigError, match=f"^{name}: {HALF}"):
            box.docker.run_in_container(BUSYBOX, *arguments)


def test_bytes_the_engine_does_not_carry(box: ContainerExecutor) -> None:
    """A command may have any bytes; the engine's API gets that of a new container as JSON."""
    assert box.run("printf '\udc80'").stdout_bytes == b"\x80"
    with pytest.raises(ConfigError, match="^command: .*a byte outside of UTF-8"):
        box.docker.run_in_container(BUSYBOX, "printf '\udc80'")


def test_bytes_of_any_kind(box: ContainerExecutor) -> None:
    """Bytes as `os.fsdecode` gives them arrive as they are."""
    odd = "caf\udce9"
    assert box.run(f"printf %s '{odd}'").stdout_bytes == b"caf\xe9"
    assert box.run(["printf", "%s", odd]).stdout_bytes == b"caf\xe9"
    shown = box.run('printf %s "$ODD"', environment={"ODD": odd}).stdout_bytes
    assert shown == b"caf\xe9" == box.run("cat", stdin=odd).stdout_bytes
