"""Failures of the machine: the engine, the disk, the network.

The tests have a node of their own and mend what they break.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lisa.node import Node

from lisa_container import (
    CommandTimeoutError,
    ContainerExecutor,
    ContainerTestConfig,
    EngineError,
    EngineTimeoutError,
    NoSpaceError,
    RunningCommand,
    SshLostError,
)
from lisa_container.container import interrupt
from lisa_container.container.paths import archive_chunks
from lisa_container.errors import InterruptedRunError, OutputLimitError
from lisa_container.platforms.sandbox import SandboxNode, start_sandbox
from tests.support.boxes import make_image, processes
from tests.support.nodes import BUSYBOX, connect_as, disconnect
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.boxes"]

BOX = ContainerTestConfig(image=BUSYBOX)


@pytest.fixture(scope="module")
def own_machine() -> Iterator[SandboxNode]:
    """Return a node that may be broken."""
    with start_sandbox(1, docker_group=True) as sandbox:
        yield sandbox.nodes[0]


@pytest.fixture
def own_node(own_machine: SandboxNode) -> Iterator[Node]:
    """Connect to the node as a user in the docker group."""
    node = connect_as(own_machine, "sudo")
    yield node
    disconnect(node)


@pytest.fixture
def own_box(own_node: Node) -> Iterator[ContainerExecutor]:
    """Return a container on the node."""
    with ContainerExecutor(own_node, BOX) as container:
        yield container


START_ENGINE = (
    "rm -f /var/run/docker.pid; (setsid dockerd >/var/log/dockerd.log 2>&1 </dev/null &);"
    "while ! docker version >/dev/null 2>&1; do sleep 0.1; done; "
)


def test_engine_is_killed(own_machine: SandboxNode, own_box: ContainerExecutor) -> None:
    running = own_box.run_async("echo begun; sleep 1401")
    eventually(lambda: running._stdout.kept)
    own_machine.run("kill -9 $(pidof dockerd)")
    try:
        _check_killed(own_machine, own_box, running)
    finally:
        own_machine.run(START_ENGINE)


def test_engine_is_killed_while_it_sends_files(
    own_machine: SandboxNode, own_box: ContainerExecutor
) -> None:
    # Random, because the end of an archive is zeros.
    own_box.run("dd if=/dev/urandom of=/big bs=1M count=32", expected_exit_code=0)
    chunks = archive_chunks(own_box.engine, own_box.name, "/big")
    with contextlib.closing(chunks):
        next(chunks)
        own_machine.run("kill -9 $(pidof dockerd)")
        try:
            with pytest.raises(EngineError, match="ended before the archive did"):
                for _ in chunks:
                    pass
        finally:
            own_machine.run(START_ENGINE)


def _check_killed(
    own_machine: SandboxNode, own_box: ContainerExecutor, running: RunningCommand
) -> None:
    started = time.monotonic()
    with pytest.raises(EngineError, match=r"engine.*may still run") as caught:
        running.wait(60)
    assert time.monotonic() - started < 10
    assert own_machine.address in str(caught.value)
    assert not isinstance(caught.value, SshLostError)
    assert processes(own_machine, "sleep 1401"), "it does run on: the error must not say otherwise"
    with pytest.raises(EngineError, match=r"Check that it runs|Start it"):
        own_box.run(["true"], timeout=20)
    assert not own_box.is_running


def test_engine_hangs(own_machine: SandboxNode, own_box: ContainerExecutor) -> None:
    """A timeout holds if the engine hangs before the command's start or during it."""
    running = own_box.run_async("sleep 1402")
    own_machine.run("kill -STOP $(pidof dockerd)")
    try:
        started = time.monotonic()
        with pytest.raises(EngineTimeoutError, match="did not start a command in 1 seconds"):
            own_box.run("sleep 1403", timeout=1)
        assert time.monotonic() - started < 3
        started = time.monotonic()
        with pytest.raises(CommandTimeoutError, match="could not be killed and may still run"):
            running.wait(0.5)
        assert time.monotonic() - started < 30
    finally:
        own_machine.run("kill -CONT $(pidof dockerd)")
    # The command that was given up is killed as soon as the engine has started it.
    eventually(lambda: own_box.run(["echo", "usable"]).stdout == "usable")
    eventually(lambda: not processes(own_machine, "sleep 1403"))


def test_output_limit_without_a_kill(
    own_machine: SandboxNode, own_box: ContainerExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says that the command may still run, and comes soon."""
    for module in ("container.output", "container.command"):
        monkeypatch.setattr(f"lisa_container.{module}.MOST_KEPT", 1 << 18)
    pauses: list[object] = []

    def pause(_: bytes) -> None:
        if not pauses:
            time.sleep(1)  # so that enough output is on its way
            pauses.append(own_machine.run(["docker", "pause", own_box.name]))

    started = time.monotonic()
    try:
        with pytest.raises(OutputLimitError, match="most that a result holds, and could not be k"):
            own_box.run("yes", on_stdout=pause, keep_output=True, timeout=None)
        assert time.monotonic() - started < 40
    finally:
        own_machine.run(["docker", "unpause", own_box.name])
    with pytest.raises(OutputLimitError, match="most that a result holds, and was killed"):
        own_box.run("yes", timeout=60)


@pytest.mark.parametrize("is_paused", [True, False])
def test_interrupted_without_a_kill(
    own_machine: SandboxNode, own_box: ContainerExecutor, is_paused: bool
) -> None:
    """After Ctrl-C the error says whether the command was killed."""
    handler = signal.getsignal(signal.SIGINT)
    interrupt.install(lambda: None)
    try:
        running = own_box.run_async("echo begun; sleep 1407")
        eventually(lambda: running._stdout.kept)
        if is_paused:
            own_machine.run(["docker", "pause", own_box.name])
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(InterruptedRunError) as caught:
            running.wait(60)
    finally:
        signal.signal(signal.SIGINT, handler)
        if is_paused:
            own_machine.run(["docker", "unpause", own_box.name])
    end = "could not be killed and may still run" if is_paused else "was killed in its container"
    assert f"the run was interrupted; the command {end}" in str(caught.value)


def test_ssh_drops(own_machine: SandboxNode, own_node: Node, own_box: ContainerExecutor) -> None:
    running = own_box.run_async("echo begun; sleep 1404")
    eventually(lambda: running._stdout.kept)
    own_machine.run(f"pkill -9 -f '^sshd: {own_machine.username}'")
    started = time.monotonic()
    with pytest.raises(SshLostError, match=r"may still run") as caught:
        running.wait(60)
    assert time.monotonic() - started < 10
    assert own_node.name in str(caught.value)
    assert isinstance(caught.value, ConnectionError)
    assert processes(own_machine, "sleep 1404"), "it does run on: the error must not say otherwise"
    # The next command connects again.
    assert own_box.run(["echo", "usable"]).stdout == "usable"


def test_network_is_cut(own_machine: SandboxNode, own_box: ContainerExecutor) -> None:
    """A time limit holds even if the loss of the connection is not reported."""
    running = own_box.run_async("echo begun; sleep 1405")
    eventually(lambda: running._stdout.kept)
    own_machine.run("iptables -I INPUT -p tcp --dport 22 -j DROP")
    try:
        started = time.monotonic()
        with pytest.raises(CommandTimeoutError, match=r"(?s)may still run.*begun") as caught:
            running.wait(1)
        assert caught.value.stdout == "begun\n"
        with pytest.raises(EngineTimeoutError):
            own_box.run(["true"], timeout=1)
        assert time.monotonic() - started < 40
    finally:
        own_machine.run("iptables -D INPUT -p tcp --dport 22 -j DROP")


@pytest.mark.parametrize("image", [BUSYBOX, "no-shell"])
def test_timeout_without_sudo(own_machine: SandboxNode, image: str) -> None:
    """A docker-group user can kill all processes in the container, but none on the node."""
    own_machine.run(f"gpasswd -d {own_machine.username} sudo; rm -f /etc/sudoers.d/*", check=False)
    node = connect_as(own_machine, "sudo")
    try:
        if image == "no-shell":
            image = make_image(node, image, ["sleep", "xargs", "cat"])
        assert node.execute("sudo -n true").exit_code != 0
        with ContainerExecutor(node, ContainerTestConfig(image=image, read_only=True)) as container:
            with pytest.raises(CommandTimeoutError, match="was killed"):
                words = ["xargs", "-n1", "-P3", "sleep"]
                container.run(words, stdin="1406 1406 1406", timeout=1)
            assert processes(own_machine, "sleep 1406") == []
            assert container.run(["cat"], stdin="usable").stdout == "usable"
    finally:
        node.close()


def test_disk_is_full(own_machine: SandboxNode, own_node: Node, tmp_path: Path) -> None:
    """Errors name the full disk, a file system of 160 MiB for Docker's data."""
    own_machine.run(
        "kill $(pidof dockerd); while pidof dockerd; do sleep 0.1; done;"
        f"mount -t tmpfs -o size=160m full /var/lib/docker; {START_ENGINE}"
    )
    (tmp_path / "big").write_bytes(bytes(200 << 20))
    with ContainerExecutor(own_node, BOX) as container:
        with pytest.raises(NoSpaceError, match=rf"'{own_node.name}'.*docker system df"):
            container.copy_to(tmp_path / "big", "/big")
        result = container.run("rm -f /big; dd if=/dev/zero of=/fill bs=1M; echo x >/more")
        assert "No space left" in result.stderr
        with pytest.raises(NoSpaceError):
            ContainerExecutor(own_node, BOX).start()
        container.run("rm /fill")
        assert container.run(["echo", "usable"]).stdout == "usable"
        container.copy_from("/etc/passwd", tmp_path / "passwd")
