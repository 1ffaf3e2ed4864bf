"""Engine calls over an SSH connection that was closed, was cut, or leads through a jump box."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from lisa import schema
from lisa.node import Node, RemoteNode
from lisa.util.shell import SshShell

from lisa_container import ContainerExecutor, ContainerTestConfig
from lisa_container.addresses import Address
from lisa_container.container.live import release_lease
from lisa_container.engine.client import Engine
from lisa_container.engine.dial import choose, is_reachable
from lisa_container.engine.reach import remote_node, require_login
from lisa_container.engine.ssh import transport_of
from lisa_container.engine.workers import Workers
from lisa_container.errors import EngineError, SshLostError, UnreachableError
from lisa_container.platforms.sandbox import Sandbox, SandboxNode, start_sandbox
from tests.support.engines import (
    container_of,
    cut_connections,
    engine_of,
    relay_folders,
    relays,
    sshd_pids,
)
from tests.support.nodes import BUSYBOX, connect_as
from tests.support.waiting import eventually


@pytest.fixture()
def own(machine: SandboxNode) -> Iterator[Node]:
    """Return a node, logged in as root, whose connection no other test uses."""
    node = connect_as(machine, "root")
    yield node
    release_lease(node)  # else it would go on to be renewed, over a connection of its own
    node.close()


def test_closed_by_lisa(each_user: Node) -> None:
    """The next call connects again after LISA has closed the connection at the end of a case."""
    with engine_of(each_user) as engine:
        assert engine.ping()
        for _ in range(3):
            each_user.close()
            assert engine.ping()
        assert each_user.execute("echo lisa").stdout == "lisa"


def test_stale_stream_is_not_used_to_change(own: Node) -> None:
    """A POST sends nothing over a stream that ended with its connection."""
    with engine_of(own) as engine, container_of(engine) as container:
        engine.api.inspect_container(container)
        own.close()
        engine.api.pause(container)
        own.close()
        engine.api.unpause(container)


def test_cut_while_reading(own: Node, machine: SandboxNode) -> None:
    """A GET is sent again on a new connection after its connection was cut."""
    with engine_of(own) as engine, container_of(engine) as container:
        answers: list[object] = []
        call = threading.Thread(
            # takes a second: the engine waits for a second sample
            target=lambda: answers.append(engine.api.stats(container, stream=False)["id"])
        )
        call.start()
        time.sleep(0.3)
        cut_connections(machine, "root")
        call.join(20)
        assert answers == [container]


def test_closed_while_the_engine_is_looked_for(own: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """LISA closes a connection after its set-up, perhaps when a case already uses it."""
    calls: list[str] = []
    look = choose._sockets

    def close_first(*args: Any) -> list[tuple[str, bool]]:
        calls.append("look")
        if len(calls) == 1:
            own.close()
        return look(*args)

    monkeypatch.setattr(choose, "_sockets", close_first)
    with engine_of(own) as engine:
        assert engine.ping()
    assert len(calls) == 2


@pytest.mark.alone
def test_cut_while_changing(own: Node, machine: SandboxNode) -> None:
    """A POST is not sent again after its connection was cut; the error comes at once."""
    with engine_of(own) as engine, container_of(engine, "sleep", "2") as container:
        errors: list[BaseException] = []

        def wait() -> None:
            try:
                with engine.errors(container):
                    engine.api.wait(container)
            except EngineError as error:
                errors.append(error)

        call = threading.Thread(target=wait)
        call.start()
        time.sleep(0.3)
        started = time.monotonic()
        cut_connections(machine, "root")
        call.join(20)
        assert time.monotonic() - started < 1
        (error,) = errors
        assert isinstance(error, SshLostError)
        assert machine.address in str(error), "which node"
        assert "may still run" in str(error)
        assert engine.ping()


def test_cut_below_a_relay(machine: SandboxNode) -> None:
    """A relay outlives the connection, and the next connection uses it."""
    node = connect_as(machine, "sudo")
    with engine_of(node) as engine:
        before = relays(machine)
        cut_connections(machine, machine.username)
        assert engine.ping()
        assert relays(machine) == before
    node.close()


def test_many_threads_reconnect_once(own: Node, machine: SandboxNode) -> None:
    """Of 20 threads that find the connection closed, one opens it, and all use it."""
    with engine_of(own) as engine:
        others = len(sshd_pids(machine, "root")) - 1
        for _ in range(3):
            own.close()
            pings: list[bool] = []
            threads = [
                threading.Thread(target=lambda: pings.append(engine.ping())) for _ in range(20)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
            assert pings == [True] * 20
            assert eventually(lambda: len(sshd_pids(machine, "root")) == others + 1)


def test_node_is_gone() -> None:
    """A node that stops answering causes an error in seconds, not in LISA's five minutes."""
    with start_sandbox(1) as sandbox, pytest.MonkeyPatch.context() as patch:
        node = connect_as(sandbox.nodes[0], "sudo")
        assert is_reachable(node)
        engine = Engine(node)
        sandbox.nodes[0].run("kill -9 $(pgrep sshd)")
        assert not is_reachable(node)
        patch.setattr("lisa_container.engine.ssh.RECONNECT_TIMEOUT", 2)
        started = time.monotonic()
        with pytest.raises(SshLostError):
            engine.ping()
        engine.close()
        assert time.monotonic() - started < 20
        node.close()


def test_tcp_options(own: Node) -> None:
    """Nagle's algorithm is off, and TCP notices a lost peer."""
    shell = own.shell
    assert isinstance(shell, SshShell)
    sock = transport_of(shell).sock
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 120_000


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Sandbox]:
    """Start two nodes for the tests of this module."""
    with start_sandbox(2) as sandbox:
        yield sandbox


def test_engine_restarted(two_nodes: Sandbox) -> None:
    """The first call of each kind after an engine's restart reaches the new engine."""
    machine = two_nodes.nodes[0]
    for user in ("root", "sudo"):
        node = connect_as(machine, user)
        with engine_of(node) as engine:
            container = engine.api.create_container_from_config(
                {"Image": image_on(engine)}, f"restart-{user}"
            )["Id"]
            machine.run("service docker restart", timeout=60)
            assert eventually(lambda: machine.run("docker ps", check=False).returncode == 0, 20)
            engine.api.start(container)  # a POST first: no GET has found the dead streams before
            assert engine.ping()
            engine.api.remove_container(container, force=True)
        node.close()
    assert eventually(lambda: relay_folders(machine) == [])


def image_on(engine: Engine) -> str:
    with container_of(engine):
        return f"{BUSYBOX}:latest"


def test_jump_box(two_nodes: Sandbox) -> None:
    """A node behind a jump box is reached through LISA's login on the jump box."""
    jump, target = two_nodes.nodes
    target.run(
        "gateway=$(ip route show default | cut -d' ' -f3); "
        "iptables -I INPUT -s $gateway -p tcp --dport 22 -j DROP"
    )
    node = connect_through(jump, target)
    try:
        shell = node.shell
        assert isinstance(shell, SshShell)
        with pytest.raises(OSError):
            socket.create_connection((target.address, target.port), timeout=0.5)
        with engine_of(node) as engine:
            assert engine.dialer.name == "relay"
            assert engine.api.info()["Name"] == target.name
            node.close()
            assert engine.ping(), "connected again, through the jump box"
            first = shell._jump_boxes[0].get_transport().sock
            assert first.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        with ContainerExecutor(node, ContainerTestConfig(image=BUSYBOX)) as container:
            assert container.run("echo hello").stdout == "hello"
    finally:
        Engine.forget(node)
        node.close()


@pytest.mark.parametrize(
    ("of_box", "of_target", "says"),
    [
        ({}, {}, ""),
        ({"username": "nobody"}, {}, "user 'nobody' cannot log in at {jump}:22: "),
        ({"port": 1}, {}, "port 1 of '{jump}' is closed (Connection refused): check the port"),
        ({"address": "no.such.host.invalid"}, {}, "host name 'no.such.host.invalid' is unknown ("),
        ({}, {"username": "nobody"}, "user 'nobody' cannot log in at {target}:22: "),
        (
            {},
            {"port": 1},
            "port 1 of '{target}' is closed through the jump box {jump}:22 (Connection refused): ",
        ),
        (
            {},
            {"address": "no.such.host.invalid"},
            "host name 'no.such.host.invalid' is unknown through the jump box {jump}:22 (",
        ),
        (
            {},
            {"address": "nowhere"},
            "no answer from {nowhere}:22 through the jump box {jump}:22 (No route to host): ",
        ),
    ],
)
def test_login_behind_jump_box(
    two_nodes: Sandbox, of_box: dict[str, Any], of_target: dict[str, Any], says: str
) -> None:
    """Each machine on the way is checked within seconds, with its own credentials."""
    jump, target = two_nodes.nodes
    names = {"jump": jump.address, "target": target.address}
    names["nowhere"] = f"{target.address.rpartition('.')[0]}.250"
    if of_target.get("address") == "nowhere":
        of_target = {"address": names["nowhere"]}
    shell = node_behind(jump, target, of_box, of_target).shell
    assert isinstance(shell, SshShell)
    if not says:
        return require_login(shell)
    with pytest.raises(UnreachableError) as caught:
        require_login(shell)
    assert str(caught.value).startswith(says.format(**names))


def test_many_logins_at_once(machine: SandboxNode) -> None:
    """The processes of a test run log in at the same time; sshd drops some by chance."""
    address = Address(machine.username, machine.address, machine.port)
    shells = [remote_node(address, machine.private_key_file, "").shell for _ in range(30)]
    workers = Workers(require_login, "login")
    workers.add(shells, len(shells))
    workers.run()
    workers.raise_failure()


def connect_through(jump: SandboxNode, target: SandboxNode) -> Node:
    node = node_behind(jump, target)
    node.initialize()
    return node


def node_behind(
    jump: SandboxNode,
    target: SandboxNode,
    of_box: dict[str, Any] | None = None,
    of_target: dict[str, Any] | None = None,
) -> Node:
    """Return an unconnected node that is reached through a jump box."""
    runbook = schema.RemoteNode(name="behind", address=target.address)
    node = Node.create(-1, runbook, is_test_target=False, logger_name="behind")
    assert isinstance(node, RemoteNode)
    box, info = (
        {
            "address": each.address,
            "port": each.port,
            "username": each.username,
            "private_key_file": str(each.private_key_file),
            **(changes or {}),
        }
        for each, changes in ((jump, of_box), (target, of_target))
    )
    info["public_port"] = info["port"]
    node.set_connection_info(**info, proxy_jump_boxes=[schema.ConnectionInfo(**box)])
    return node
