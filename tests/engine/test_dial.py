"""The way to a node's engine that is taken, and the errors of a node without one."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from lisa.node import Node

from lisa_container.engine.client import Engine
from lisa_container.engine.ssh import read_command, transport_of
from lisa_container.errors import EngineNotFoundError, SudoError
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.engines import engine_of, relay_folders, relays
from tests.support.nodes import connect, connect_as


def by_key(machine: SandboxNode, password: str = "") -> Node:
    """Log in by key as the user whose sudo asks for a password."""
    user, key = machine.password_username, machine.private_key_file
    return connect(machine.address, user, machine.port, key, password)


def is_root(node: Node) -> bool:
    return bool(node.connection_info["username"] == "root")


def test_way_of_each_user(each_user: Node) -> None:
    """root opens the socket itself, a sudo user a relay, with and without a password."""
    with engine_of(each_user) as engine:
        assert engine.dialer.name == ("streamlocal" if is_root(each_user) else "relay")
        assert (engine.kind, engine.ping()) == ("docker", True)
        assert engine.version in engine.api.version()["Version"]


def test_member_of_the_docker_group(machine: SandboxNode) -> None:
    """A member of the docker group opens the socket without sudo."""
    user = machine.password_username
    machine.run(["usermod", "--append", "--groups", "docker", user])
    try:
        node = connect_as(machine, "password")
        with engine_of(node) as engine:
            assert engine.dialer.name == "streamlocal"
            assert engine.ping()
        node.close()
    finally:
        machine.run(["gpasswd", "--delete", user, "docker"])


@pytest.fixture()
def no_engine(machine: SandboxNode) -> Iterator[SandboxNode]:
    """Return the node with its engine's socket moved to /run/docker.away."""
    machine.run("mv /run/docker.sock /run/docker.away")
    yield machine
    machine.run("rm -rf /run/docker.sock /run/podman; mv /run/docker.away /run/docker.sock")


def test_no_engine(no_engine: SandboxNode, each_user: Node) -> None:
    before = relays(no_engine), relay_folders(no_engine)  # those of other tests' nodes
    with pytest.raises(EngineNotFoundError) as caught:
        Engine(each_user)
    said = str(caught.value)
    assert "on node 'node0-" in said
    assert "/var/run/docker.sock or /run/podman/podman.sock" in said, "what was tried"
    assert "node.tools[DockerAdvanced]" in said, "the next step"
    assert ("/run/user/" in said) is not is_root(each_user), "a rootless engine is its user's own"
    assert (relays(no_engine), relay_folders(no_engine)) == before


def test_second_place(no_engine: SandboxNode, each_user: Node) -> None:
    """podman's socket is found in a folder that only root may read."""
    no_engine.run("mkdir -m 700 /run/podman; ln -s /run/docker.away /run/podman/podman.sock")
    with engine_of(each_user) as engine:
        assert engine.ping()


def test_stale_socket(no_engine: SandboxNode, each_user: Node) -> None:
    """The error for a socket without a listener names it, and the cause if known."""
    bind = "import socket; socket.socket(socket.AF_UNIX).bind('/run/docker.sock')"
    no_engine.run(["python3", "-c", bind])
    with pytest.raises(EngineNotFoundError, match=r"/var/run/docker\.sock") as caught:
        Engine(each_user)
    assert "refused" in str(caught.value) or "Is the docker daemon running" in str(caught.value)


@pytest.mark.parametrize(
    ("password", "words"),
    [("", "it needs a password, none is known"), ("wrong", "the password was refused")],
)
def test_sudo_refuses(machine: SandboxNode, password: str, words: str) -> None:
    """A wrong password for sudo is an error of sudo although the login by key works."""
    node = by_key(machine, password)
    started = time.monotonic()
    with pytest.raises(SudoError, match=words) as caught:
        Engine(node)
    assert "Give the node's user a password" in str(caught.value), "the next step"
    assert time.monotonic() - started < 10
    node.close()


def test_no_sudo_and_no_engine(no_engine: SandboxNode) -> None:
    """A node without a known engine has an error about the engine, not about sudo."""
    node = by_key(no_engine)
    with pytest.raises(EngineNotFoundError, match="no process listens.*sudo on the node failed"):
        Engine(node)
    node.close()


def test_output_of_a_profile(machine: SandboxNode) -> None:
    """Text that a profile prints does not count as a command's output."""
    node = connect_as(machine, "sudo")
    profile = f"~{machine.username}/.bashrc"
    machine.run(f"cp {profile} /tmp/bashrc; sed -i '1i echo hello' {profile}")
    try:
        transport = transport_of(node.shell)
        assert read_command(transport, "echo $(id -un)") == machine.username
        assert read_command(transport, "id -un", sudo=True) == "root"
        with engine_of(node) as engine:
            assert engine.ping()
    finally:
        machine.run(f"cp /tmp/bashrc {profile}; rm /tmp/bashrc")
        node.close()


def test_engine_is_kept(node: Node) -> None:
    engine = Engine.of(node)
    assert Engine.of(node) is engine
    Engine.forget(node)
    assert Engine.of(node) is not engine
    Engine.forget(node)
