"""Nodes without a running engine: the tool installs and starts one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lisa.node import Node
from lisa.tools import Docker

from lisa_container import ContainerExecutor, ContainerTestConfig
from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.engine.client import Engine
from lisa_container.engine.service import LOG_PATH, start_engine
from lisa_container.errors import EngineNotFoundError, NoSpaceError, SudoError
from lisa_container.images import ensure_image
from lisa_container.platforms.sandbox import SandboxNode, start_sandbox
from tests.support.engines import dockerds
from tests.support.nodes import BUSYBOX, connect, connect_as
from tests.support.waiting import eventually, happens


@pytest.fixture()
def stopped() -> Iterator[SandboxNode]:
    """Return a node with a Docker Engine that is not started, and without systemd."""
    with start_sandbox(1, docker="stopped") as sandbox:
        yield sandbox.nodes[0]


def test_sysv_script(stopped: SandboxNode) -> None:
    """An engine is started by its init script once, and then found running."""
    assert dockerds(stopped) == []
    node = connect_as(stopped, "sudo")
    docker = node.tools[DockerAdvanced]
    assert docker.run_in_container(BUSYBOX, "echo up").stdout == "up"
    (pid,) = dockerds(stopped)
    assert "is running" in stopped.run("/etc/init.d/docker status").stdout
    docker.start()
    node.tools.create(DockerAdvanced)
    assert dockerds(stopped) == [pid], "one that answers is left alone"

    # It was stopped meanwhile, and our engine object does not know.
    stopped.run(["kill", pid])
    assert eventually(lambda: not docker.engine.ping(), 10)
    docker.start()
    assert docker.engine.ping()
    Engine.forget(node)
    node.close()


def test_no_script(stopped: SandboxNode) -> None:
    """dockerd is started directly; it outlives the connection, and its log is kept."""
    stopped.run("rm /etc/init.d/docker")
    node = connect_as(stopped, "sudo")
    docker = node.tools[DockerAdvanced]
    (pid,) = dockerds(stopped)
    assert "API listen on /var/run/docker.sock" in stopped.run(f"cat {LOG_PATH}").stdout
    node.close()
    assert not happens(lambda: dockerds(stopped) != [pid], 0.5)
    assert docker.run_in_container(BUSYBOX, "echo up").stdout == "up"
    Engine.forget(node)
    node.close()


def test_does_not_start(stopped: SandboxNode, logged: Callable[[], str]) -> None:
    """The error of a failed start begins with the cause and ends with the engine's logs."""
    node = connect_as(stopped, "sudo")
    asks: list[Callable[[], object]] = [
        lambda: start_engine(node),
        lambda: node.tools[DockerAdvanced],
        lambda: ContainerExecutor(node, ContainerTestConfig(image=BUSYBOX)).start(),
    ]
    stopped.run("echo '{\"there-is-none\": 1}' > /etc/docker/daemon.json")
    for ask in asks[1:]:
        with pytest.raises(EngineNotFoundError, match="does not start") as caught:
            ask()
        first, *others = str(caught.value).splitlines()
        assert "does not start: " in first
        assert "don't match any configuration option: there-is-none" in first
        assert {"Docker by /etc/init.d/docker:", "dockerd directly:"} <= {*others}
    assert "installing" not in logged(), "an engine that is broken is not installed again"
    for text in ('{"a": 1', "a: 1", ",", "[1, 2"):
        stopped.run(f"echo '{text}' > /etc/docker/daemon.json")
        for ask in asks:
            with pytest.raises(EngineNotFoundError) as caught:
                ask()
            said = str(caught.value)
            assert said.startswith("/etc/docker/daemon.json on node"), said
            assert "is not JSON" in said and "line 1 column" in said
    assert dockerds(stopped) == []
    stopped.run("rm /etc/docker/daemon.json")
    start_engine(node)
    assert "starting the engine of node" in logged()
    assert "(Docker by /etc/init.d/docker), since none answers there" in logged()
    node.close()


def test_runs_elsewhere(stopped: SandboxNode) -> None:
    """No second engine is started if one listens at another socket."""
    stopped.run("(setsid dockerd -H unix:///srv/other.sock >/var/log/other.log 2>&1 </dev/null &)")
    assert eventually(
        lambda: stopped.run("test -S /srv/other.sock", check=False).returncode == 0, 30
    )
    (pid,) = dockerds(stopped)
    node = connect_as(stopped, "sudo")
    with pytest.raises(EngineNotFoundError) as caught:
        node.tools[DockerAdvanced]
    assert f"'dockerd' (pid {pid}) runs and listens at /srv/other.sock" in str(caught.value)
    assert dockerds(stopped) == [pid]
    node.close()


# Program of a runner on the node itself, which it reaches over SSH.
ON_ITSELF = """
import sys
from pathlib import Path
from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.errors import EngineNotFoundError
from tests.support.nodes import connect
node = connect(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
try:
    node.tools[DockerAdvanced]
except EngineNotFoundError as error:
    print(error)
node.close()
"""


def test_own_machine_over_ssh(stopped: SandboxNode, tmp_path: Path) -> None:
    """A runner starts no engine unasked on its own machine, even as a remote node."""
    login = (stopped.address, stopped.username, str(stopped.port), str(stopped.private_key_file))
    done = subprocess.run(
        [
            *("nsenter", "--target", str(stopped.pid), "--pid", "--"),
            *(sys.executable, "-c", ON_ITSELF, *login),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=tmp_path,  # gets LISA's folders
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    said = done.stdout + done.stderr  # LISA logs what is printed
    assert "is the machine that LISA runs on." in said, done
    assert "only if asked: 'lisa-container plan run --start-engine'" in said
    assert dockerds(stopped) == []


def test_sudo_refuses(stopped: SandboxNode) -> None:
    """A missing password for sudo is an error at once, and LISA changes no password."""
    user, key = stopped.password_username, stopped.private_key_file
    node = connect(stopped.address, user, stopped.port, key)
    with pytest.raises(SudoError, match="it needs a password.*Give the node's user a password"):
        node.tools[DockerAdvanced]
    assert dockerds(stopped) == []
    node.close()


def test_full_disk(stopped: SandboxNode) -> None:
    """The error of a container whose engine's disk is full names the disk."""
    stopped.run("mount -t tmpfs -o size=40m,mode=700 tmpfs /var/lib/docker")
    node = connect_as(stopped, "sudo")
    docker = node.tools[DockerAdvanced]
    docker.run_in_container(BUSYBOX, "true")
    stopped.run("head -c 100m /dev/zero > /var/lib/docker/fill", check=False)
    with pytest.raises(NoSpaceError, match="no space is left on node.*docker system prune"):
        docker.run_in_container(BUSYBOX, "true")
    stopped.run("rm /var/lib/docker/fill")
    assert docker.run_in_container(BUSYBOX, "echo again").stdout == "again"
    Engine.forget(node)
    node.close()


@pytest.fixture()
def absent() -> Iterator[SandboxNode]:
    """Return a node without any engine."""
    with start_sandbox(1, docker="absent") as sandbox:
        yield sandbox.nodes[0]


def test_install(absent: SandboxNode, logged: Callable[[], str]) -> None:
    """An engine is installed by LISA's knowledge of the distribution, and started."""
    node = connect_as(absent, "sudo")
    docker = node.tools[DockerAdvanced]
    assert isinstance(docker, Docker)
    assert docker.run_in_container(BUSYBOX, "echo installed").stdout == "installed"
    assert "ok installed" in absent.run("dpkg -s docker.io").stdout
    what = f"installing Docker on node '{node.name}', which has no container engine"
    lines = [line for line in logged().splitlines() if line.startswith(what)]
    assert lines[0] == f"{what}…" and f"{what}: done in" in lines[-1], lines
    Engine.forget(node)
    node.close()


def test_no_way_to_install(absent: SandboxNode) -> None:
    """An unknown distribution is an error with the cause and the next step.

    Without a package source the error is the same, after LISA's retries of 90 seconds.
    """
    absent.run("rm /etc/os-release; echo 'ID=tests\nNAME=Tests\nVERSION_ID=1' > /etc/os-release")
    node = connect_as(absent, "sudo")
    with pytest.raises(EngineNotFoundError, match="no container engine is installed on node"):
        start_engine(node)
    with pytest.raises(EngineNotFoundError) as caught:
        node.tools[DockerAdvanced]
    said = str(caught.value)
    assert "no container engine is on node" in said
    assert re.search("installing one failed: .*not supported", said), "the cause"
    assert "Check the node's package sources" in said, "the next step"
    node.close()


@pytest.mark.parametrize(("place", "size"), [("/tmp", "120m"), ("/var/tmp", "1m")])
def test_full_disk_of_an_image(
    machine: SandboxNode, node: Node, logged: Callable[[], str], place: str, size: str
) -> None:
    """The error of an image made on a full disk names the disk, without progress bars."""
    machine.run(f"mount -t tmpfs -o size={size},mode=1777 tmpfs {place}")
    release = machine.run(". /etc/os-release; echo $VERSION_CODENAME").stdout.strip()
    image = f"lisa_container/debian:{release}" if place == "/tmp" else "lisa_container/root"
    try:
        with pytest.raises(NoSpaceError) as caught:
            ensure_image(Engine.of(node), ContainerTestConfig(image=image))
    finally:
        machine.run(f"umount -l {place}")
    first = str(caught.value).splitlines()[0]
    assert re.match(
        "no space is left on node .*: .*(?i:no space left on device|wrote only)", first
    ), first
    assert not re.search(r"[=#]{6}|\x1b|\r", str(caught.value))
    lines = [line for line in logged().splitlines() if line.startswith("making image")]
    assert lines[0].endswith("…") and "failed in" in lines[-1], lines
