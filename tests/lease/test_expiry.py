"""Leases on a node: their life, their expiry, and what they remove."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from lisa.node import Node

from lisa_container import (
    ConfigError,
    ContainerDiedError,
    ContainerError,
    ContainerExecutor,
    ContainerTestConfig,
    DockerAdvanced,
)
from lisa_container.container.live import release_lease
from lisa_container.engine.client import Engine
from lisa_container.engine.lease.lease import TTL_VARIABLE, Lease
from lisa_container.images import ensure_image
from lisa_container.platforms.sandbox import SandboxNode, start_sandbox
from tests.support.engines import MORE_PACKAGES
from tests.support.nodes import BUSYBOX, connect_as
from tests.support.runners import Runners, left, wait_until, wait_until_clean

pytestmark = pytest.mark.sampled(8, "ends")

BOX = ContainerTestConfig(image=BUSYBOX)


@pytest.fixture(scope="module", autouse=True)
def image(machine: SandboxNode) -> None:
    """Make the image first, since two simultaneous runs would both make it."""
    node = connect_as(machine, "root")
    ensure_image(Engine.of(node), BOX)
    node.close()


@pytest.fixture
def ttl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process's leases short."""
    monkeypatch.setenv(TTL_VARIABLE, "10")


@pytest.fixture
def own_connection(machine: SandboxNode) -> Iterator[Node]:
    """Connect for one test, and check that nothing is left on the node."""
    node = connect_as(machine, "sudo")
    yield node
    release_lease(node)
    Engine.forget(node)  # else its relay waits until it is idle
    node.close()
    wait_until_clean(machine)


@pytest.fixture(autouse=True)
def no_others(runners: Runners) -> Iterator[None]:
    """Kill all runners, so that a failed test leaves none to the next one."""
    yield
    runners.kill_all()


def watchers(machine: SandboxNode) -> list[str]:
    """Return the pids of the watchers on a node."""
    return machine.run(["pgrep", "-f", r"/node\.sh watch"], check=False).stdout.split()


# --- a runner that is killed ----------------------------------------------------------------------


def test_killed(machine: SandboxNode, runners: Runners) -> None:
    """The watchers alone remove everything, since no other run comes."""
    works = {"root": "wait", "sudo": "detach", "password": "wait"}
    # Long enough for the checks on a loaded machine.
    started = [runners.start(machine, work, user, ttl=15) for user, work in works.items()]
    for runner in started:
        runner.wait_for("ready")
    wait_until(lambda: sum("node.sh beat" in line for line in left(machine)) == 3, "three renewals")
    seen = left(machine)
    for runner in started:
        assert any(line.startswith(f"container {runner.name} ") for line in seen)
    assert sum(line.startswith("process ") and "node.sh watch" in line for line in seen) == 3
    assert sum(line.startswith("process ") and "docker.sock" in line for line in seen) == 2, (
        "relays"
    )
    for runner in started:
        runner.kill()
    wait_until_clean(machine)


@pytest.mark.parametrize("shell", ["/bin/bash", "/bin/busybox"])
def test_shells(machine: SandboxNode, runners: Runners, shell: str) -> None:
    """The watcher runs in each usual sh, not only in Debian's dash."""
    machine.run(f"cp -P /bin/sh /bin/sh.kept && ln -sf {shell} /bin/sh")
    try:
        for work in ("wait", "end"):
            runner = runners.start(machine, work, ttl=8 if work == "wait" else 60)
            if work == "wait":
                runner.wait_for("ready")
                assert any(f"container {runner.name}" in line for line in left(machine))
                runner.kill()
                wait_until_clean(machine)
            else:
                runner.wait()
                assert left(machine) == []
                assert "ready" in runner.lines
    finally:
        machine.run("mv /bin/sh.kept /bin/sh")


def test_certificates(machine: SandboxNode, runners: Runners) -> None:
    """A registry's certificates are removed, with the folders made for them if they are empty."""

    def files() -> list[str]:
        return sorted(machine.run("find /etc/docker", check=False).stdout.split())

    before = files()
    folder = "/etc/docker/certs.d"
    runner = runners.start(machine, "certificates", ttl=3)
    runner.wait_for("ready")
    (made,) = [path for path in files() if path.endswith(".crt")]
    assert made.startswith(f"{folder}/127.0.0.1:1/lisa_container-")
    machine.run(["mkdir", f"{folder}/others"])
    runner.kill()
    wait_until_clean(machine)
    assert files() == sorted({*before, "/etc/docker", folder, f"{folder}/others"})
    machine.run(["rm", "-r", folder])


def test_without_the_engines_command(machine: SandboxNode, runners: Runners) -> None:
    """The watcher can also use curl."""
    machine.run("mv /usr/bin/docker /usr/bin/docker.hidden")
    try:
        runner = runners.start(machine, "detach")
        runner.wait_for("ready")
        runner.kill()
        wait_until(lambda: watchers(machine) == [], "end of the watcher")
    finally:
        machine.run("mv /usr/bin/docker.hidden /usr/bin/docker")
    assert left(machine) == []


def test_without_any_client(machine: SandboxNode, own_connection: Node) -> None:
    """A warning is logged once, and the next run's sweep removes everything."""
    hide = "for name in docker curl; do mv /usr/bin/$name /usr/bin/$name.hidden; done"
    machine.run(hide)
    try:
        with ContainerExecutor(own_connection, BOX) as container:
            assert any("docker, podman and curl" in note for note in container.engine._noted)
            assert container.run("echo works").stdout == "works"
            assert len(watchers(machine)) == 1
    finally:
        machine.run("for name in docker curl; do mv /usr/bin/$name.hidden /usr/bin/$name; done")


def test_two_runners(machine: SandboxNode, runners: Runners) -> None:
    """The other run is not affected when one is killed."""
    victim, other = (runners.start(machine, "wait", ttl=ttl) for ttl in (8, 60))
    victim.wait_for("ready")
    other.wait_for("ready")
    victim.kill()
    wait_until(
        lambda: not any(victim.name in line for line in left(machine)), f"end of {victim.name}"
    )
    assert any(f"container {other.name} {other.name}" in line for line in left(machine))
    rounds = len(other.lines)
    wait_until(lambda: len(other.lines) > rounds, "the other goes on")
    other.stop()
    assert left(machine) == []


def test_ship_under_way(machine: SandboxNode, runners: Runners) -> None:
    """The layers that had arrived are removed too."""
    runner = runners.start(machine, "ship", ttl=4)
    wait_until(lambda: any(line.startswith("image - ") for line in left(machine)), "a part")
    runner.kill()
    wait_until_clean(machine)
    assert machine.run("ls /var/lib/docker/tmp").stdout == ""


@pytest.mark.parametrize("work", ["build", "build_image"])
def test_build_under_way(machine: SandboxNode, runners: Runners, work: str) -> None:
    """The build ends, which the engine would otherwise go on with."""
    runner = runners.start(machine, work)
    runner.wait_for("ready")
    wait_until(lambda: "sleep 1.23" in machine.run("ps -eo args").stdout, "a build")
    runner.kill()
    wait_until_clean(machine)


# --- the end of a run -----------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["root", "sudo", "password"])
def test_normal_end(machine: SandboxNode, runners: Runners, user: str) -> None:
    """At its end a process removes everything, even what it has never removed itself."""
    runner = runners.start(machine, "end", user, ttl=60)
    runner.wait()
    assert runner.lines == ["ready"], runner.lines
    assert left(machine) == []


def test_release(machine: SandboxNode, own_connection: Node) -> None:
    """At the end of an environment the lease ends; then the node can be used again."""
    for _ in range(2):
        with ContainerExecutor(own_connection, BOX) as container:
            release_lease(own_connection)
            assert container.run("echo alive").stdout == "alive", "an executor is still there"
            assert watchers(machine) != []
        own_connection.tools[DockerAdvanced].create_network("forgotten")
        release_lease(own_connection)
        assert left(machine) == []


def test_file(machine: SandboxNode, own_connection: Node) -> None:
    """Files on the node are removed with the lease."""
    with ContainerExecutor(own_connection, BOX) as container:
        lease = Lease.of(container.engine)
        machine.run("mkdir -p '/run/of a lease/folder' && touch /run/of-a-lease")
        lease.file("/run/of a lease")
        lease.file("/run/of-a-lease")
        for wrong in ("relative/path", "/", "/run", "//run//"):
            with pytest.raises(ConfigError, match="legal: an absolute path"):
                lease.file(wrong)
    release_lease(own_connection)
    assert machine.run("ls -d /run/of*", check=False).stdout == ""


@pytest.mark.parametrize("wrong", ["1", "0", "-5", "2.5", "a minute", "٣"])
def test_wrong_ttl(own_connection: Node, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv(TTL_VARIABLE, wrong)
    with pytest.raises(ConfigError, match="whole seconds, at least 2"):
        ContainerExecutor(own_connection, BOX).start()


def test_labels(machine: SandboxNode, own_connection: Node) -> None:
    """Labels name the run and lease. Cache images have no lease."""
    with ContainerExecutor(own_connection, BOX.merged(labels={"mine": "1"})) as container:
        labels = container.inspect()["Config"]["Labels"]
        ours = {name: value for name, value in labels.items() if name.startswith("lisa_container.")}
        assert labels["mine"] == "1"
        assert ours["lisa_container.run"] == "tests"
        assert ours["lisa_container.lease"] == Lease.of(container.engine).id
        assert ours["lisa_container.runner"].endswith(f":{os.getpid()}")
        image = container.engine.api.inspect_image(BUSYBOX)["Config"]["Labels"]
        assert "lisa_container.run" in image and "lisa_container.lease" not in image
        folder = f"/run/lisa_container.{Lease.of(container.engine).id}"
        assert machine.run(f"stat -c '%a %U' {folder}").stdout == "700 root\n"


# --- a runner that is cut off ---------------------------------------------------------------------

CUT = "iptables -I INPUT -p tcp --dport 22 -j DROP"
MEND = "iptables -D INPUT -p tcp --dport 22 -j DROP"


def test_network_comes_back_in_time(
    machine: SandboxNode, own_connection: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TTL_VARIABLE, "60")
    with ContainerExecutor(own_connection, BOX) as container:
        lease = Lease.of(container.engine)
        first = lease.id
        beat = f"cat /run/lisa_container.{first}/beat"
        machine.run(CUT)
        try:
            # By the second check, no renewal that was under way can still arrive.
            for _ in range(2):
                silent = machine.run(beat).stdout
                if machine.run(f"sleep 16; {beat}").stdout == silent:
                    break
            else:
                pytest.fail("something gets through")
        finally:
            machine.run(MEND)
        wait_until(lambda: machine.run(beat).stdout != silent, "a renewal", 200)
        assert container.run("echo alive").stdout == "alive"
        assert (lease.id, lease.why_gone()) == (first, "")


@pytest.mark.usefixtures("ttl")
def test_network_does_not_come_back(machine: SandboxNode, own_connection: Node) -> None:
    """The node removes everything; the runner notices, and can then use the node again."""
    container = ContainerExecutor(own_connection, BOX).start()
    container.run("true")
    first = Lease.of(container.engine).id
    machine.run(CUT)
    try:
        wait_until(lambda: watchers(machine) == [], "end of the watcher")
        assert left(machine, f"process {first}") == [], "but for the other end of the connection"
        with pytest.raises(ContainerError):
            container.run("true", timeout=3)
    finally:
        machine.run(MEND)
    with pytest.raises(ContainerDiedError, match="its lease expired: for 10 seconds"):
        container.run("true", timeout=100)
    container.stop()
    with ContainerExecutor(own_connection, BOX) as another:
        assert another.run("echo alive").stdout == "alive"
        assert Lease.of(another.engine).id != first


# --- the engine -----------------------------------------------------------------------------------


def test_engine_restarts(machine: SandboxNode, own_connection: Node, runners: Runners) -> None:
    """The engine restarts while one run lives and another one's lease expires."""
    victim = runners.start(machine, "wait")
    victim.wait_for("ready")
    with ContainerExecutor(own_connection, BOX) as container:
        lease = Lease.of(container.engine)
        first = lease.id
        machine.run("service docker stop", timeout=120)
        victim.kill()
        expired = f"grep -l {victim.name} /run/lisa_container.*/state"
        folder = str(Path(machine.run(expired).stdout.strip()).parent)
        wait_until(
            lambda: machine.run(f"ls {folder}/expired", check=False).stdout, "the lease expires"
        )
        machine.run("sleep 3; service docker start", timeout=120)
        wait_until(
            lambda: not any(victim.name in line for line in left(machine)), f"end of {victim.name}"
        )
        assert machine.run(f"ls -d {folder}", check=False).stdout == ""
        assert (lease.id, lease.why_gone()) == (first, "")
        container.restart()
        assert container.run("echo alive").stdout == "alive"


# --- what is kept ---------------------------------------------------------------------------------


@pytest.mark.parametrize("work", ["keep", "keep_and_wait"])
def test_kept(machine: SandboxNode, own_connection: Node, runners: Runners, work: str) -> None:
    """A kept container outlives the end and expiry of its run, and other runs' sweeps."""
    runner = runners.start(machine, work)
    if work == "keep":
        runner.wait()
    else:
        runner.wait_for("ready")
        runner.kill()
        wait_until(lambda: watchers(machine) == [], "end of the watcher")
    kept = [f"container {runner.name} {runner.name}", f"volume {runner.name} {runner.name}_volume"]
    assert left(machine, "mark ") == kept
    machine.run("docker network create --label lisa_container.lease=0123 orphan")
    with ContainerExecutor(own_connection, BOX):
        wait_until(
            lambda: "orphan" not in machine.run("docker network ls").stdout, "another run's sweep"
        )
    release_lease(own_connection)
    assert left(machine, "mark ") == kept
    # Its removal by hand needs no further step.
    machine.run(f"docker rm -f {runner.name} && docker volume rm {runner.name}_volume")
    with ContainerExecutor(own_connection, BOX):
        wait_until(lambda: not any("mark " in line for line in left(machine)), "the marks go")


# --- the sweep ------------------------------------------------------------------------------------


def test_sweep(machine: SandboxNode, own_connection: Node, runners: Runners) -> None:
    """After a reboot, the next run's first contact removes what a dead run left, and no more."""
    dead, living = (runners.start(machine, "detach", ttl=ttl) for ttl in (4, 60))
    dead.wait_for("ready")
    living.wait_for("ready")
    dead.kill()
    machine.run(f"kill -9 $(tail -n 1 $(grep -l {dead.name} /run/lisa_container.*/state)); sleep 5")
    machine.run("docker volume create nobodys && docker network create nobodys")
    assert any(dead.name in line for line in left(machine))
    with ContainerExecutor(own_connection, BOX) as container:
        wait_until(
            lambda: not any(dead.name in line for line in left(machine)), f"end of {dead.name}"
        )
        assert container.run("echo alive").stdout == "alive"
    seen = left(machine)
    assert f"container {living.name} {living.name}" in seen
    assert f"network {living.name} {living.name}_network" in seen
    machine.run("docker volume rm nobodys && docker network rm nobodys")
    living.stop()


def test_relay_that_was_killed(machine: SandboxNode, own_connection: Node) -> None:
    """A killed relay's folder is removed with the lease."""
    with ContainerExecutor(own_connection, BOX):
        machine.run("pkill -9 -f 'docker.sock [0-9]+ [0-9.]+$'")
        assert machine.run("ls -d /run/lisa_container_*").stdout
    release_lease(own_connection)
    assert machine.run("ls -d /run/lisa_container_*", check=False).stdout == ""


# --- podman ---------------------------------------------------------------------------------------


def test_podman(runners: Runners) -> None:
    with start_sandbox(1, packages=MORE_PACKAGES, docker=False) as sandbox:
        machine = sandbox.nodes[0]
        machine.run("rm /etc/init.d/docker /usr/sbin/dockerd /usr/bin/docker")
        # podman's storage does not work on an overlay either.
        machine.run("mkdir -p /var/lib/docker/podman /var/lib/containers")
        machine.run("mount --bind /var/lib/docker/podman /var/lib/containers")
        machine.run("ln -s $(command -v podman) /usr/local/bin/docker")  # for `left`
        started = [runners.start(machine, work) for work in ("detach", "wait")]
        for runner in started:
            runner.wait_for("ready")
            assert runner.name in machine.run("podman ps").stdout
            runner.kill()
        wait_until(lambda: watchers(machine) == [], "end of the watchers")
        for what in ("ps -a", "network ls", "volume ls"):
            assert "run_" not in machine.run(f"podman {what}").stdout
