"""Relay that gives a sudo user the engine's socket, in python and in perl."""

from __future__ import annotations

import io
import os
import tarfile
import threading
from collections.abc import Iterator

import pytest
from lisa.node import Node
from lisa.util.shell import SshShell

from lisa_container.engine.client import Engine
from lisa_container.engine.dial.relay import RelayDialer, relay_on_node
from lisa_container.engine.http.api import EngineAPI
from lisa_container.engine.ssh import read_command, transport_of
from lisa_container.errors import EngineNotFoundError
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.engines import container_of, engine_of, relay_folders, relays
from tests.support.waiting import eventually, happens

ENGINE = "/var/run/docker.sock"
HIDE = "mv /usr/bin/{0} /usr/bin/{0}.hidden"
SHOW = "mv /usr/bin/{0}.hidden /usr/bin/{0}"


@pytest.fixture(params=["python3", "perl"])
def interpreter(request: pytest.FixtureRequest, machine: SandboxNode) -> Iterator[str]:
    """Leave a node only one interpreter for a relay."""
    hidden = {"python3": "perl", "perl": "python3"}[request.param]
    machine.run(HIDE.format(hidden))
    yield request.param
    machine.run(SHOW.format(hidden))


@pytest.fixture(params=["node", "password_node"])
def user(request: pytest.FixtureRequest) -> Node:
    """Return both kinds of sudo users in turn."""
    user: Node = request.getfixturevalue(request.param)
    return user


@pytest.fixture(autouse=True)
def no_others(node: Node, machine: SandboxNode) -> None:
    """End the relay that an earlier test left."""
    Engine.forget(node)
    assert relays(machine) == []


def relay(node: Node, idle_seconds: float = 60) -> RelayDialer:
    shell = node.shell
    assert isinstance(shell, SshShell)
    uid = int(read_command(transport_of(shell), "id -u"))
    return relay_on_node(shell, ENGINE, uid, shell.connection_info.password, idle_seconds)


def test_interpreters(interpreter: str, user: Node, machine: SandboxNode) -> None:
    """The socket belongs to the user alone, and Engine.close() leaves nothing behind."""
    with engine_of(user) as engine:
        assert engine.dialer.name == "relay"
        (pid,) = relays(machine)
        assert interpreter in machine.run(["ps", "-o", "args=", pid]).stdout
        (folder,) = relay_folders(machine)
        name = user.connection_info["username"]
        modes = machine.run(f"stat -c '%a %U' {folder} {folder}/engine.sock").stdout
        assert modes == f"700 {name}\n600 {name}\n"
        assert engine.ping()
    assert eventually(lambda: relays(machine) == relay_folders(machine) == [])


def test_ends_when_idle(interpreter: str, node: Node, machine: SandboxNode) -> None:
    """An idle relay ends, one with a stream stays; the next call starts another one."""
    idle = 0.3 if interpreter == "python3" else 1  # perl's clock ticks in seconds
    way = relay(node, idle)
    stream = way.dial()
    (first,) = relays(machine)
    assert not happens(lambda: not relays(machine), 3 * idle), "a stream is open"
    stream.close()
    assert eventually(lambda: not relays(machine))
    assert relay_folders(machine) == []
    way.dial().close()
    (second,) = relays(machine)
    assert first != second
    way.close()
    assert eventually(lambda: not relays(machine))


@pytest.mark.parametrize("signal", ["TERM", "KILL"])
def test_killed(interpreter: str, signal: str, node: Node, machine: SandboxNode) -> None:
    """The next call starts another relay after one was killed."""
    with engine_of(node) as engine:
        engine.api.close()  # a perl relay's idle streams have processes of their own
        machine.run(["kill", f"-{signal}", *relays(machine)])
        assert eventually(lambda: not relays(machine))
        assert relay_folders(machine) == [] or signal == "KILL"
        assert engine.ping()
    machine.run("rm -rf /run/lisa_container_*")  # what a relay that was killed so cannot remove


def test_many_streams(interpreter: str, node: Node, machine: SandboxNode) -> None:
    """300 requests at the same time are held open by the engine until the container ends."""
    with engine_of(node) as engine, container_of(engine) as container:
        # Attached to, waiting, and nothing else: one open stream each.
        codes: list[int] = []
        threads = [
            threading.Thread(target=lambda: codes.append(engine.api.wait(container)["StatusCode"]))
            for _ in range(300)
        ]
        for thread in threads:
            thread.start()
        opened = f"ss -xH state connected src {ENGINE} | wc -l"
        assert eventually(lambda: int(machine.run(opened).stdout) >= 300, 20)
        assert engine.ping()
        engine.api.kill(container)
        for thread in threads:
            thread.join(20)
        assert codes == [137] * 300


def test_bytes_arrive_as_they_are(interpreter: str, node: Node) -> None:
    """16 MiB go both ways while another stream is blocked."""
    content = os.urandom(16 * 1024 * 1024)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        info = tarfile.TarInfo("blob")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    with engine_of(node) as engine, container_of(engine) as container:
        flood = engine.api.exec_create(container, ["cat", "/dev/zero"])["Id"]
        stuck = engine.api.exec_start(flood, socket=True)
        assert engine.api.put_archive(container, "/tmp", archive.getvalue())
        chunks, _ = engine.api.get_archive(container, "/tmp/blob")
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
            extracted = tar.extractfile("blob")
            assert extracted is not None and extracted.read() == content
        stuck.close()


def test_memory_is_bounded(node: Node, machine: SandboxNode) -> None:
    """Unread output stops at its source, so a relay's memory is bounded; perl has no buffers."""
    with engine_of(node) as engine, container_of(engine) as container:
        assert isinstance(engine.dialer, RelayDialer)
        (pid,) = relays(machine)
        before = resident_kib(machine, pid)
        floods = []
        for _ in range(5):
            flood = engine.api.exec_create(container, ["cat", "/dev/zero"])["Id"]
            floods.append(engine.api.exec_start(flood, socket=True))
        assert not happens(lambda: resident_kib(machine, pid) > before + 4096, 1)
        for stream in floods:
            stream.close()


def resident_kib(machine: SandboxNode, pid: str) -> int:
    return int(machine.run(["ps", "-o", "rss=", pid]).stdout)


def test_no_interpreter(node: Node, machine: SandboxNode) -> None:
    """Docker's own tunnel carries the streams on a node without an interpreter."""
    machine.run("; ".join(HIDE.format(name) for name in ("python3", "perl")))
    try:
        with engine_of(node) as engine:
            assert engine.dialer.name == "stdio"
            assert engine.ping()
    finally:
        machine.run("; ".join(SHOW.format(name) for name in ("python3", "perl")))


def test_engine_gone(interpreter: str, node: Node, machine: SandboxNode) -> None:
    """A missing engine makes a ping fail through a relay, and makes a new relay fail."""
    with engine_of(node) as engine:
        machine.run("mv /run/docker.sock /run/docker.away")
        try:
            engine.api.close()  # no idle stream to use
            assert not engine.ping()
            with pytest.raises(EngineNotFoundError, match="No such file"):
                relay(node)
        finally:
            machine.run("mv /run/docker.away /run/docker.sock")
        assert engine.ping()


def test_modules_in_the_users_home(node: Node, machine: SandboxNode) -> None:
    """A relay, which runs as root, imports no module from the user's home."""
    home = f"~{machine.username}"
    machine.run(f"echo 'raise SystemExit(1)' > {home}/selectors.py")
    try:
        way = relay(node)
        assert isinstance(EngineAPI(way).version(), dict)
        assert "python3" in machine.run(["ps", "-o", "args=", *relays(machine)]).stdout
        way.close()
    finally:
        machine.run(f"rm {home}/selectors.py")


def test_two_engines_on_one_node(node: Node, machine: SandboxNode) -> None:
    """Each engine has its own relay, and the end of one does not affect the other."""
    with engine_of(node) as first:
        second = Engine(node)
        second.close()
        assert first.ping()
        assert len(relays(machine)) == 1
