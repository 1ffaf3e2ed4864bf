"""Deaths of parts of an engine: users get a plain error at once, or notice nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from lisa.node import Node
from lisa.util.shell import SshShell

from lisa_container import (
    CommandNotStartedError,
    ContainerDiedError,
    ContainerExecutor,
    ContainerTestConfig,
    EngineError,
)
from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.engine.client import Engine
from lisa_container.engine.dial.relay import RelayDialer, relay_on_node
from lisa_container.engine.ssh import read_command, transport_of
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import BUSYBOX, connect_as, disconnect

BOX = ContainerTestConfig(image=BUSYBOX)
ENGINE = "/var/run/docker.sock"

KILL_SHIM = "kill -9 $(pgrep -f '^/usr/bin/containerd-shim-runc-v2 .*{id}')"


def wait_for_output(running: object) -> None:
    """Wait until a command has printed something."""
    deadline = time.monotonic() + 20
    while not running._stdout.kept:  # type: ignore[attr-defined]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("command", ["echo begun; sleep 1501", ["sh", "-c", "echo begun; cat"]])
def test_shim_is_killed(
    each_engine_user: Node, machine: SandboxNode, command: str | list[str]
) -> None:
    """A command ends with its container, through the resident shell and through the engine."""
    with ContainerExecutor(each_engine_user, BOX) as container:
        is_shell = isinstance(command, str)
        running = container.run_async(command, interactive=not is_shell)
        wait_for_output(running)
        machine.run(KILL_SHIM.format(id=container.id))
        started = time.monotonic()
        with pytest.raises(ContainerDiedError, match="it ended with exit code 137"):
            running.wait(60)
        assert time.monotonic() - started < 5


def test_shim_of_one_shot_is_killed(each_engine_user: Node, machine: SandboxNode) -> None:
    """A command in a container of its own ends with that container."""
    docker = each_engine_user.tools[DockerAdvanced]
    machine.run(
        "(until pgrep -f '^sleep 1502'; do sleep 0.1; done; "
        "pkill -9 -f '^/usr/bin/containerd-shim-runc-v2 ') >/dev/null 2>&1 &"
    )
    started = time.monotonic()
    result = docker.run_in_container(BUSYBOX, "sleep 1502", timeout=60)
    assert result.exit_code == 137
    assert time.monotonic() - started < 10


def test_long_command_is_left_alone(each_engine_user: Node) -> None:
    """A silent command of a living container does not count as dead, by name or by id."""
    with ContainerExecutor(each_engine_user, BOX) as container:
        running = container.run_async("sleep 3; echo done")
        docker = each_engine_user.tools[DockerAdvanced]
        docker.exec_in_container(container.id[:12], "sleep 2.5", expected_exit_code=0)
        assert running.wait(20).stdout == "done"


def test_containerd_is_killed(machine: SandboxNode) -> None:
    """The next containers of each user start after containerd's death; others keep running."""
    nodes = [connect_as(machine, user) for user in ("root", "sudo", "docker")]

    def start(node: Node) -> str:
        with ContainerExecutor(node, BOX) as container:
            return container.run("echo usable").stdout

    def run_once(node: Node) -> str:
        return node.tools[DockerAdvanced].run_in_container(BUSYBOX, "echo once").stdout

    try:
        with ContainerExecutor(nodes[0], BOX) as old, ThreadPoolExecutor() as threads:
            for node in nodes:
                Engine.of(node)
            old.run("true")
            machine.run("kill -9 $(pidof containerd)")
            assert old.run("echo usable").stdout == "usable"
            with pytest.raises(CommandNotStartedError, match="containerd"):
                old.run(["echo", "not run"], user="1")
            # Until nothing listens any more: what may have reached containerd is not repeated.
            time.sleep(1)
            done = [threads.submit(start, node) for node in nodes]
            done += [threads.submit(run_once, node) for node in nodes]
            assert [each.result() for each in done] == ["usable"] * 3 + ["once"] * 3
    finally:
        for node in nodes:
            disconnect(node)


# Stands for an interpreter on the node; the first one among PATH, also under sudo.
TRAP = """#!/bin/sh
echo "$0 $$" >>/root/starts
if [ -e /root/kill.always ] || [ $(grep -c . /root/starts) = 1 ]; then
    ACTION
fi
exec /usr/bin/${0##*/} "$@"
"""


@pytest.fixture(params=["sudo", "password"])
def relay_user(request: pytest.FixtureRequest, machine: SandboxNode) -> Iterator[Node]:
    """Connect as each kind of user who needs a relay."""
    node = connect_as(machine, request.param)
    yield node
    machine.run("rm -f /usr/local/bin/python3 /usr/local/bin/perl /root/starts /root/kill.always")
    disconnect(node)


def relay(node: Node) -> RelayDialer:
    """Start a relay on a node."""
    shell = node.shell
    assert isinstance(shell, SshShell)
    uid = int(read_command(transport_of(shell), "id -u"))
    return relay_on_node(shell, ENGINE, uid, shell.connection_info.password)


def replace_interpreters(machine: SandboxNode, action: str, always: bool) -> None:
    """Have interpreters do something else where they are to start a relay, once or always."""
    for name in ("python3", "perl"):
        text = TRAP.replace("ACTION", action)
        machine.run(f"cat >/usr/local/bin/{name}; chmod 755 /usr/local/bin/{name}", stdin=text)
    if always:
        machine.run("touch /root/kill.always")


def test_relay_is_killed_once(relay_user: Node, machine: SandboxNode) -> None:
    """A relay that was killed while it started is started again, by the same interpreter."""
    replace_interpreters(machine, "kill -9 $$", always=False)
    way = relay(relay_user)
    starts = machine.run("cat /root/starts").stdout.split()[::2]
    assert starts == ["/usr/local/bin/python3"] * 2
    way.dial().close()
    way.close()


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("kill -9 $$", "python3 -I: it was killed while it started"),
        ("echo no room >&2; exit 3", "it ended at once with exit code 3: no room"),
    ],
)
def test_relay_cannot_start(
    relay_user: Node, machine: SandboxNode, action: str, reason: str
) -> None:
    """The error has the result of each interpreter; only a missing one is "not there"."""
    replace_interpreters(machine, action, always=True)
    with pytest.raises(EngineError) as caught:
        relay(relay_user)
    said = str(caught.value)
    assert reason in said
    assert "platform-python -I: not on the node" in said
    assert "perl: not on the node" not in said and said.count("not on the node") == 1
    assert len(machine.run("cat /root/starts").stdout.splitlines()) == 4


def test_relay_is_killed_after_its_start(relay_user: Node, machine: SandboxNode) -> None:
    """A relay that dies before its first stream is started again, and sshd is not blamed."""
    start = (
        'line=$(/usr/bin/${0##*/} "$@"); set -- $line; kill -9 $2; '
        'while [ -e /proc/$2 ]; do :; done; echo "$line"; exit'
    )
    replace_interpreters(machine, start, always=False)
    way = relay(relay_user)
    assert len(machine.run("cat /root/starts").stdout.splitlines()) == 2
    way.dial().close()
    way.close()
    machine.run("touch /root/kill.always")
    with pytest.raises(EngineError, match="was killed twice as soon as it had started"):
        relay(relay_user)
