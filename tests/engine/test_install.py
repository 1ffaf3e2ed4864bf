"""A node whose engine does not run, or that has none: the tool starts and installs it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from conftest import BUSYBOX, connect, connect_as
from helpers import dockerds, eventually
from lisa.tools import Docker

from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.engine.client import Engine
from lisa_container.engine.service import LOG_PATH, start_engine
from lisa_container.errors import EngineNotFoundError, NoSpaceError, SudoError
from lisa_container.platforms.sandbox import SandboxNode, start_sandbox


@pytest.fixture()
def stopped() -> Iterator[SandboxNode]:
    """A node with a Docker Engine that is not started, and no systemd."""
    with start_sandbox(1, docker="stopped") as sandbox:
        yield sandbox.nodes[0]


def test_sysv_script(stopped: SandboxNode) -> None:
    """It exists once it answers: by its script, and then never started again."""
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
    """dockerd itself, which outlives the connection; its log is kept."""
    stopped.run("rm /etc/init.d/docker")
    node = connect_as(stopped, "sudo")
    docker = node.tools[DockerAdvanced]
    (pid,) = dockerds(stopped)
    assert "API listen on /var/run/docker.sock" in stopped.run(f"cat {LOG_PATH}").stdout
    node.close()
    assert not eventually(lambda: dockerds(stopped) != [pid], 0.5)
    assert docker.run_in_container(BUSYBOX, "echo up").stdout == "up"
    Engine.forget(node)
    node.close()


def test_does_not_start(stopped: SandboxNode) -> None:
    """The error has the end of the engine's own log, from wherever that is."""
    stopped.run("echo '{\"there-is-none\": 1}' > /etc/docker/daemon.json")
    node = connect_as(stopped, "sudo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lisa_container.engine.service._WAIT", 1)
        with pytest.raises(EngineNotFoundError, match="does not start") as caught:
            start_engine(node)
    said = str(caught.value)
    assert said.count("don't match any configuration option: there-is-none") == 2
    assert "'! [ -d /run/systemd/system ] && [ -x /etc/init.d/docker ]" in said
    node.close()


def test_sudo_refuses(stopped: SandboxNode) -> None:
    """He may not start it, nor install one: told at once, and LISA not let change his password."""
    user, key = stopped.password_username, stopped.private_key_file
    node = connect(stopped.address, user, stopped.port, key)
    with pytest.raises(SudoError, match="it needs a password.*Give the node's user a password"):
        node.tools[DockerAdvanced]
    assert dockerds(stopped) == []
    node.close()


def test_full_disk(stopped: SandboxNode) -> None:
    """The disk of the engine is full."""
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
    """A node without any engine."""
    with start_sandbox(1, docker="absent") as sandbox:
        yield sandbox.nodes[0]


def test_install(absent: SandboxNode) -> None:
    """By LISA's knowledge of the distribution, from its packages; then started."""
    node = connect_as(absent, "sudo")
    docker = node.tools[DockerAdvanced]
    assert isinstance(docker, Docker)
    assert docker.run_in_container(BUSYBOX, "echo installed").stdout == "installed"
    assert "ok installed" in absent.run("dpkg -s docker.io").stdout
    Engine.forget(node)
    node.close()


def test_no_way_to_install(absent: SandboxNode) -> None:
    """A distribution LISA does not know: the cause, and what to do. (Where packages cannot be had
    it is the same error, after LISA's retries, which take a minute and a half.)"""
    absent.run("rm /etc/os-release; echo 'ID=tests\nNAME=Tests\nVERSION_ID=1' > /etc/os-release")
    node = connect_as(absent, "sudo")
    with pytest.raises(EngineNotFoundError, match="no container engine is installed on node"):
        start_engine(node)
    with pytest.raises(EngineNotFoundError) as caught:
        node.tools[DockerAdvanced]
    said = str(caught.value)
    assert "no container engine is on node" in said
    assert re.search("installing one failed: .*not supported", said), "the cause"
    assert "Mend the node's package sources" in said, "the next step"
    node.close()
