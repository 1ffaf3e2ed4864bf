"""Test the life of a container: its start, its first process and its end."""

from __future__ import annotations

import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from lisa.node import Node

from lisa_container import (
    ContainerDiedError,
    ContainerExecutor,
    ContainerTestConfig,
    EngineError,
    ImageNotFoundError,
    NameTakenError,
)
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import BUSYBOX
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.boxes"]

Fresh = Callable[..., ContainerExecutor]

BOX = ContainerTestConfig(image=BUSYBOX)


def resources(machine: SandboxNode) -> dict[str, list[str]]:
    """Return the resources on the node that a container could leave."""
    commands = {
        "containers": "docker ps -aq",
        "volumes": "docker volume ls -q",
        "networks": "docker network ls --format '{{.Name}}'",
        "mounts": "cut -d' ' -f2 /proc/mounts",
    }
    return {name: sorted(machine.run(x).stdout.split()) for name, x in commands.items()}


@pytest.fixture
def nothing_left(machine: SandboxNode) -> Iterator[None]:
    before = resources(machine)
    yield
    assert resources(machine) == before


# --- start and stop -----------------------------------------------------------------------------


def test_name_and_first_process(box: ContainerExecutor) -> None:
    assert re.fullmatch("lisa_test_[0-9a-f]{8}", box.name)
    assert re.fullmatch("[0-9a-f]{64}", box.id)
    assert box.is_running
    state = box.inspect()
    assert (state["Id"], state["Name"], state["HostConfig"]["Init"]) == (
        box.id,
        f"/{box.name}",
        True,
    )
    assert box.run("cat /proc/1/cmdline | tr '\\0' ' '").stdout.endswith("sleep 2147483647")
    assert box.name in repr(box) and box.engine.name in repr(box)


@pytest.mark.usefixtures("nothing_left")
def test_stop_leaves_nothing(node: Node, machine: SandboxNode) -> None:
    config = BOX.merged(volumes={"a_volume": "/a", "/srv": "/srv"}, tmpfs={"/t": ""})
    with ContainerExecutor(node, config) as container:
        container.run("echo x >/a/x", expected_exit_code=0)
        assert container.name in machine.run("docker ps --format '{{.Names}}'").stdout
        assert "a_volume" in resources(machine)["volumes"]
    assert not container.is_running


def test_start_and_stop_twice(node: Node) -> None:
    container = ContainerExecutor(node, BOX)
    container.stop()  # before it was started
    assert container.start() is container
    first = container.id
    assert container.start().id == first
    container.stop()
    container.stop()
    assert container.start().id != first
    container.stop()


def test_stop_after_removal_by_another(node: Node, machine: SandboxNode) -> None:
    container = ContainerExecutor(node, BOX).start()
    machine.run(f"docker rm -f {container.name}")
    container.stop()
    with pytest.raises(ContainerDiedError, match="not started"):
        container.run("true")


@pytest.mark.parametrize(
    "method", ["run", "run_async", "copy_to", "copy_from", "logs", "inspect", "kill", "restart"]
)
def test_not_started(node: Node, method: str) -> None:
    arguments = {"run": ["x"], "run_async": ["x"], "copy_to": ["x", "/x"], "copy_from": ["/x", "x"]}
    with pytest.raises(ContainerDiedError, match="was not started"):
        getattr(ContainerExecutor(node, BOX), method)(*arguments.get(method, []))


def test_volume_of_another_container_stays(node: Node, machine: SandboxNode) -> None:
    machine.run("docker volume create not_ours")
    try:
        with ContainerExecutor(node, BOX.merged(volumes={"not_ours": "/data"})) as container:
            container.run("echo x >/data/x")
        assert "not_ours" in resources(machine)["volumes"]
    finally:
        machine.run("docker volume rm not_ours")


@pytest.mark.usefixtures("nothing_left")
def test_volume_of_two_containers(node: Node) -> None:
    config = BOX.merged(volumes={"shared_one": "/data"})
    with ContainerExecutor(node, config) as first:
        with ContainerExecutor(node, config) as second:
            second.run("echo from second >/data/x")
        assert first.run("cat /data/x").stdout == "from second"


# --- failures -----------------------------------------------------------------------------------

FAILURES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"image": "lisa_container_tests/none", "pull_policy": "never"}, ImageNotFoundError, "none"),
    ({"devices": ["/dev/none"]}, EngineError, "/dev/none"),
    ({"network_mode": "no_such_network"}, EngineError, "no_such_network"),
    ({"user": "ghost"}, EngineError, "ghost"),
    ({"volumes": {"/etc/passwd": "/etc"}}, EngineError, "passwd"),
]


@pytest.mark.parametrize(("options", "kind", "says"), FAILURES, ids=[x[2] for x in FAILURES])
@pytest.mark.usefixtures("nothing_left")
def test_failing_start_leaves_nothing(
    node: Node, options: dict[str, Any], kind: type[Exception], says: str
) -> None:
    container = ContainerExecutor(node, BOX.merged(volumes={"of_failed": "/v"}).merged(**options))
    with pytest.raises(kind, match=says):
        container.start()
    assert not container.is_running


def test_name_taken(node: Node, machine: SandboxNode, box: ContainerExecutor) -> None:
    other = ContainerExecutor(node, BOX, name=box.name)
    with pytest.raises(NameTakenError, match=box.name):
        other.start()
    other.stop()
    assert box.is_running, "the other container must not be touched"
    assert box.run(["echo", "alive"]).stdout == "alive"


def test_name_given(node: Node, machine: SandboxNode) -> None:
    with ContainerExecutor(node, BOX, name="a_name"):
        assert "a_name" in machine.run("docker ps --format '{{.Names}}'").stdout.split()


# --- first process ------------------------------------------------------------------------------


def test_zombies_are_reaped(box: ContainerExecutor) -> None:
    """The first process inherits orphans and reaps them."""
    box.run("for i in 1 2 3 4 5; do (sh -c 'sleep 0.1 >/dev/null 2>&1 &' &); done; sleep 0.5")
    states = box.run("cat /proc/[0-9]*/stat 2>/dev/null | sed 's/.*) //' | cut -c1").stdout.split()
    assert states, "there are processes at all"
    assert "Z" not in states


def test_entrypoint_of_the_image_is_not_run(node: Node) -> None:
    with ContainerExecutor(node, BOX) as container:
        api = container.engine.api
        container.run("printf '#!/bin/sh\\nexit 7\\n' >/entry; chmod 755 /entry")
        api.commit(
            container.name, "lisa_container/entry", "latest", changes='ENTRYPOINT ["/entry"]'
        )
    try:
        with ContainerExecutor(
            node, ContainerTestConfig(image="lisa_container/entry")
        ) as container:
            assert container.run(["echo", "alive"]).stdout == "alive"
    finally:
        api.remove_image("lisa_container/entry")


def _ticks(container: ContainerExecutor) -> int:
    """Return the CPU time of a container's processes, in hundredths of a second."""
    lines = container.run("cat /proc/[0-9]*/stat").stdout.splitlines()
    return sum(int(word) for line in lines for word in line.rpartition(")")[2].split()[11:13])


def test_image_without_sleep(fresh: Fresh, no_sleep: str) -> None:
    container = fresh(image=no_sleep)
    assert container.run("echo alive").stdout == "alive"
    assert "read -r" in container.run("cat /proc/*/cmdline").stdout
    ticks = [_ticks(container)]
    time.sleep(0.5)
    ticks.append(_ticks(container))
    assert ticks[1] - ticks[0] < 10, "waiting must cost no CPU time; a busy loop takes 50 ticks"


@pytest.mark.parametrize("options", [{}, {"read_only": True}, {"user": "1000"}])
@pytest.mark.usefixtures("nothing_left")
def test_image_of_one_program(node: Node, one_program: str, options: dict[str, Any]) -> None:
    with ContainerExecutor(node, ContainerTestConfig(image=one_program, **options)) as container:
        assert container.run(["cat"], stdin="alive").stdout == "alive"
        container.restart()
        assert container.run(["cat"], stdin="again").stdout == "again"


# --- methods ------------------------------------------------------------------------------------


def test_restart(fresh: Fresh) -> None:
    container = fresh()
    container.run("echo kept >/root/file; sleep 1301 >/dev/null 2>&1 &")
    first, before = container.id, container.inspect()["State"]["StartedAt"]
    running = container.run_async("sleep 1302")
    container.restart()
    assert container.id == first
    assert container.inspect()["State"]["StartedAt"] > before
    assert container.run("cat /root/file").stdout == "kept"
    assert "130" not in container.run("ps -o args").stdout.replace("ps -o", "")
    with pytest.raises(ContainerDiedError):
        running.wait(20)


def test_kill(fresh: Fresh) -> None:
    container = fresh()
    container.kill()
    eventually(lambda: not container.is_running)
    with pytest.raises(EngineError, match="not running"):
        container.kill()
    container.restart()
    assert container.run(["echo", "back"]).stdout == "back"


def test_kill_with_a_signal(fresh: Fresh) -> None:
    container = fresh()
    container.kill("SIGTERM")
    eventually(lambda: not container.is_running)


def test_logs(fresh: Fresh) -> None:
    container = fresh()
    container.run("for line in one two ü; do echo $line >/proc/1/fd/1; done")
    assert eventually(lambda: container.logs().count("\n") == 3)
    assert container.logs() == "one\ntwo\nü\n"
    assert container.logs(tail=1) == "ü\n"


def test_keep(node: Node, machine: SandboxNode) -> None:
    container = ContainerExecutor(node, BOX)
    container.keep = True
    with container:
        container.run("echo found >/root/evidence")
    try:
        assert container.is_running
        assert container.run("cat /root/evidence").stdout == "found"
        assert container.enter_command.startswith("ssh -t -p 22 ")
        command = shlex.split(container.enter_command)
        master, slave = pty.openpty()
        entered = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        os.write(master, b"cat /root/evid*; exit\n")
        assert entered.wait(20) == 0
        assert b"\nfound" in os.read(master, 100_000)
    finally:
        os.close(master)
        container.keep = False
        machine.run(f"docker rm -f {container.name}")


# --- the end of the process ---------------------------------------------------------------------


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("how", "exit_code"),
    [("ends", 0), ("collected", 0), ("closed", 0), ("raises", 1), ("SIGINT", -2), ("SIGTERM", 143)],
)
@pytest.mark.usefixtures("nothing_left")
def test_end_of_the_process(
    machine: SandboxNode, box: ContainerExecutor, how: str, exit_code: int
) -> None:
    """A process that does not stop its container leaves none behind, unless it is killed."""
    script = Path(__file__).with_name("exit_script.py")
    words = [machine.address, str(machine.port), machine.username, str(machine.private_key_file)]
    process = subprocess.Popen(
        [sys.executable, str(script), *words, f"exit_{how}", how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    if how.startswith("SIG"):
        assert process.stdout is not None
        for line in process.stdout:
            if line == b"ready\n":
                break
        time.sleep(0.3)
        process.send_signal(getattr(signal, how))
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == exit_code, stderr.decode()
