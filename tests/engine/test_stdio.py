"""Docker's own tunnel in session channels, used where sshd forwards no sockets."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest
import requests
from lisa.node import Node

from lisa_container.engine.client import Engine
from lisa_container.engine.dial.stdio import StdioDialer
from lisa_container.errors import EngineNotFoundError
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.engines import (
    closed_sshd,
    container_of,
    cut_connections,
    dial_stdios,
    engine_of,
    sshd_pids,
)
from tests.support.nodes import connect, disconnect
from tests.support.waiting import eventually

PORT = 2222


@pytest.fixture(scope="module")
def closed_node(machine: SandboxNode) -> Iterator[SandboxNode]:
    """Start an sshd at PORT that forwards no unix sockets."""
    with closed_sshd(machine, PORT):
        yield machine


def connected(machine: SandboxNode, user: str, port: int = PORT) -> Node:
    if user == "password":
        name = machine.password_username
        return connect(machine.address, name, port, password=machine.password, name=f"stdio-{user}")
    name = "root" if user == "root" else machine.username
    return connect(machine.address, name, port, machine.private_key_file, name=f"stdio-{user}")


@pytest.fixture(scope="module", params=["root", "sudo", "password"])
def each(request: pytest.FixtureRequest, closed_node: SandboxNode) -> Iterator[Node]:
    """Connect as each kind of user through an sshd that forwards nothing."""
    node = connected(closed_node, request.param)
    yield node
    disconnect(node)


@pytest.fixture(scope="module")
def node(closed_node: SandboxNode) -> Iterator[Node]:
    node = connected(closed_node, "sudo")
    yield node
    disconnect(node)


def test_each_user(each: Node, closed_node: SandboxNode) -> None:
    with engine_of(each) as engine:
        assert engine.dialer.name == "stdio"
        assert engine.ping()
        with container_of(engine) as container:
            identifier = engine.api.exec_create(container, ["echo", "hello"])["Id"]
            assert engine.api.exec_start(identifier) == b"hello\n"
    assert eventually(lambda: not dial_stdios(closed_node))


def test_member_of_the_docker_group(closed_node: SandboxNode) -> None:
    """A member of the docker group opens the socket without sudo here, too."""
    user = closed_node.password_username
    closed_node.run(["usermod", "--append", "--groups", "docker", user])
    try:
        node = connect(
            closed_node.address, user, PORT, closed_node.private_key_file
        )  # sudo's password unknown
        with engine_of(node) as engine:
            assert engine.dialer.name == "stdio"
            assert engine.ping()
        disconnect(node)
    finally:
        closed_node.run(["gpasswd", "--delete", user, "docker"])


def hold_open(
    engine: Engine, container: str, count: int
) -> tuple[list[threading.Thread], list[int]]:
    """Send requests that the engine answers when the container ends; return threads and codes."""
    codes: list[int] = []

    def hold() -> None:
        with contextlib.suppress(requests.RequestException):
            codes.append(engine.api.wait(container)["StatusCode"])

    threads = [threading.Thread(target=hold) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, codes


def test_more_streams_than_sessions(node: Node, closed_node: SandboxNode) -> None:
    """40 calls at the same time work with 10 sessions per connection, beside LISA's commands."""
    before = len(sshd_pids(closed_node, closed_node.username))
    with engine_of(node) as engine, container_of(engine) as container:
        threads, codes = hold_open(engine, container, 40)
        assert eventually(lambda: len(dial_stdios(closed_node)) >= 40, 30)
        assert engine.ping()
        # 4 on LISA's own connection, which leaves 6 for LISA; 10 on each further one.
        assert len(sshd_pids(closed_node, closed_node.username)) == before + 4
        running = [node.execute_async("sleep 0.2; echo lisa", shell=True) for _ in range(5)]
        assert [process.wait_result().stdout for process in running] == ["lisa"] * 5
        engine.api.kill(container)
        for thread in threads:
            thread.join(30)
        assert codes == [137] * 40
        engine.api.close()  # the idle streams
        assert engine.ping()
        assert eventually(
            lambda: len(sshd_pids(closed_node, closed_node.username)) == before + 1
        ), "a spare"
    assert eventually(lambda: len(sshd_pids(closed_node, closed_node.username)) == before)
    assert eventually(lambda: not dial_stdios(closed_node))


def test_fewer_sessions_than_usual(machine: SandboxNode) -> None:
    """All calls and LISA's commands work where sshd's MaxSessions is 2."""
    with closed_sshd(machine, PORT + 1, "MaxSessions=2"):
        node = connected(machine, "sudo", PORT + 1)
        with engine_of(node) as engine, container_of(engine) as container:
            threads, codes = hold_open(engine, container, 6)
            assert eventually(lambda: len(dial_stdios(machine)) >= 6, 20)
            assert engine.ping()
            engine.api.kill(container)
            for thread in threads:
                thread.join(20)
            assert codes == [137] * 6
        disconnect(node)


def test_no_engine(each: Node, closed_node: SandboxNode) -> None:
    """The error has the message of docker's client or of the relay, which know the cause."""
    closed_node.run("mv /run/docker.sock /run/docker.away")
    try:
        bind = "import socket; socket.socket(socket.AF_UNIX).bind('/run/docker.sock')"
        closed_node.run(["python3", "-c", bind])
        with pytest.raises(EngineNotFoundError, match="Is the docker daemon running|refused"):
            Engine(each)
    finally:
        closed_node.run("mv /run/docker.away /run/docker.sock")


def test_no_client(node: Node, closed_node: SandboxNode) -> None:
    closed_node.run("mv /usr/bin/docker /usr/bin/docker.hidden")
    try:
        with pytest.raises(EngineNotFoundError, match="neither docker nor podman"):
            Engine(node)
    finally:
        closed_node.run("mv /usr/bin/docker.hidden /usr/bin/docker")


def test_connections_cut(node: Node, closed_node: SandboxNode) -> None:
    """Calls after a cut of all connections open new ones."""
    with engine_of(node) as engine, container_of(engine) as container:
        threads, _ = hold_open(engine, container, 6)
        assert eventually(lambda: len(dial_stdios(closed_node)) >= 6, 20)
        cut_connections(closed_node, closed_node.username)
        for thread in threads:
            thread.join(10)
        assert engine.ping()
        threads, codes = hold_open(engine, container, 6)
        assert eventually(lambda: len(dial_stdios(closed_node)) >= 6, 20)
        engine.api.kill(container)
        for thread in threads:
            thread.join(20)
        assert codes == [137] * 6


def test_streams_given_up(node: Node, closed_node: SandboxNode) -> None:
    """A closed stream ends its process on the node and frees its session."""
    with engine_of(node) as engine, container_of(engine) as container:
        for _ in range(12):
            engine.api.logs(container, stream=True, follow=True).close()
        assert isinstance(engine.dialer, StdioDialer)
        kept = engine.dialer.pool_size
        assert eventually(lambda: len(dial_stdios(closed_node)) <= kept), dial_stdios(closed_node)
        assert node.execute("echo lisa").stdout == "lisa"
