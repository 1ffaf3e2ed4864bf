"""Our labels on another user's container or image do not make it ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from lisa.node import Node

from lisa_container import ContainerExecutor, ContainerTestConfig, DockerAdvanced
from lisa_container.container.live import release_lease
from lisa_container.engine.client import Engine
from lisa_container.engine.lease.lease import Lease
from lisa_container.engine.lease.sweep import Findings, sweep
from lisa_container.images import ensure_image, image_from_layers, ship
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import BUSYBOX, connect_as, disconnect
from tests.support.runners import Runners, wait_until

BOX = ContainerTestConfig(image=BUSYBOX)
USERS = ["root", "sudo", "docker"]


@pytest.fixture(scope="module")
def nodes(machine: SandboxNode) -> Iterator[dict[str, Node]]:
    """Connect as each user that may reach the engine."""
    connected = {user: connect_as(machine, user) for user in USERS}
    ensure_image(Engine.of(connected["root"]), BOX)
    yield connected
    for node in connected.values():
        disconnect(node)


@pytest.fixture(params=USERS)
def user(request: pytest.FixtureRequest) -> str:
    """Return each kind of user that may reach the engine."""
    return str(request.param)


@pytest.fixture
def node(machine: SandboxNode, nodes: dict[str, Node], user: str) -> Iterator[Node]:
    """Return the node of that user; remove the strangers' resources at the end."""
    yield nodes[user]
    release_lease(nodes[user])
    machine.run("docker ps -aq | xargs -r docker rm -f -v")
    machine.run("docker images --format '{{.Repository}}' 'strangers/*' | xargs -r docker rmi -f")
    machine.run("docker image prune -f")


def names(machine: SandboxNode) -> set[str]:
    return set(machine.run("docker ps -a --format '{{.Names}}'").stdout.split())


def images(machine: SandboxNode) -> set[str]:
    return set(machine.run("docker images --format '{{.Repository}}'").stdout.split())


def make_strangers(machine: SandboxNode, container: str, docker: str = "docker") -> set[str]:
    """Make containers of images that have our labels; return the containers' names."""
    found = machine.run([docker, "inspect", container]).stdout
    lease = found.split('"lisa_container.lease": "')[1][:16]
    hostile = f"FROM {BUSYBOX}\\nLABEL lisa_container.lease={lease} lisa_container.owner=0"
    marked = f"{hostile} lisa_container.container=0123456789abcdef"
    script = (
        f"docker commit {container} strangers/committed && "
        f"printf '{hostile}' | docker build -q -t strangers/hostile - && "
        f"printf '{marked}' | docker build -q -t strangers/marked - && "
        "printf 'FROM strangers/committed\\nRUN true\\n' | docker build -q -t strangers/built - && "
        "docker run -d --name of_committed strangers/committed sleep 1000 && "
        "docker run -d --name of_hostile strangers/hostile sleep 1000 && "
        "docker run -d --name of_marked strangers/marked sleep 1000 && "
        "docker create --name of_built strangers/built sleep 1000"
    )
    machine.run(script.replace("docker ", f"{docker} "), timeout=120)
    return {"of_committed", "of_hostile", "of_marked", "of_built"}


STRANGERS = {f"strangers/{name}" for name in ("committed", "hostile", "marked", "built")}


def test_end_of_a_run(machine: SandboxNode, nodes: dict[str, Node], node: Node) -> None:
    """The normal end and the sweeps of all kinds of users leave strangers' containers."""
    with ContainerExecutor(node, BOX, "ours") as container:
        container.run("true")
        strangers = make_strangers(machine, "ours")
    node.tools[DockerAdvanced].run_in_container(BUSYBOX, "sleep 1000", detach=True, name="left")
    release_lease(node)
    assert names(machine) == strangers
    for other in nodes.values():
        engine = Engine.of(other)
        results = sweep(engine, Findings.of(engine))
        assert [item.name for item, _ in results if item.what == "container"] == []
    assert names(machine) == strangers
    assert images(machine) >= STRANGERS


@pytest.mark.sampled(2)
@pytest.mark.parametrize("client", ["docker", "curl"])
def test_killed_run(
    machine: SandboxNode, node: Node, runners: Runners, user: str, client: str
) -> None:
    """The watcher removes what the run made, and nothing else."""
    if client == "curl":
        machine.run("mv /usr/bin/docker /usr/bin/docker.hidden")
    try:
        runner = runners.start(machine, "detach", user, ttl=5)
        runner.wait_for("ready")
        command = "docker.hidden" if client == "curl" else "docker"
        strangers = make_strangers(machine, runner.name, command)
        runner.kill()
        wait_until(
            lambda: not machine.run(["pgrep", "-f", "node.sh watch"], check=False).stdout,
            "the end of the watcher",
        )
    finally:
        if client == "curl":
            machine.run("mv /usr/bin/docker.hidden /usr/bin/docker")
    assert names(machine) == strangers
    assert images(machine) >= STRANGERS


def test_image_of_a_run(machine: SandboxNode, node: Node) -> None:
    """A run's image stays while a stranger uses it, and under names that he gave."""
    for name in ("ours/one", "ours/two"):
        ship(image_from_layers([{"file": name.encode()}], cmd=["/x"]), [node], name=name)
    machine.run(
        "docker tag ours/two strangers/two && "
        "printf 'FROM ours/two\\nLABEL x=y\\n' | docker build -q -t strangers/derived - && "
        "docker create --name strangers ours/one",
        timeout=120,
    )
    release_lease(node)
    assert names(machine) == {"strangers"}
    assert images(machine) >= {"strangers/two", "strangers/derived", "ours/one"}
    assert "ours/two" not in images(machine)
    machine.run("docker rm strangers")
    engine = Engine.of(node)

    def is_swept() -> bool:
        sweep(engine, Findings.of(engine))
        return "ours/one" not in images(machine)

    # Until two minutes after the node's boot, a sweep leaves what a living run may take up again.
    wait_until(is_swept, "the sweep of ours/one", 150)
    assert images(machine) >= {"strangers/two", "strangers/derived"}


def test_own_container_of_own_image(machine: SandboxNode, node: Node) -> None:
    """A run's container is removed even if its image has the same labels."""
    with ContainerExecutor(node, BOX, "ours") as container:
        container.run("true")
        lease = Lease.of(container.engine)
        labels = " ".join(f"--label {k}={v}" for k, v in lease.container_labels().items())
        machine.run(f"docker commit ours ours/committed && docker run -d {labels} --name by_hand "
                    "ours/committed sleep 1000")  # fmt: skip
        docker = node.tools[DockerAdvanced]
        docker.run_in_container("ours/committed", "sleep 1000", detach=True, name="left")
    release_lease(node)
    assert names(machine) == set()
    machine.run("docker rmi ours/committed")


def test_images_with_labels_of_a_run(machine: SandboxNode, node: Node) -> None:
    """Images that inherited their labels stay, with and without a name."""
    with ContainerExecutor(node, BOX) as container:
        docker = node.tools[DockerAdvanced]
        docker.client.containers.create(BUSYBOX, name="by_the_sdk", labels=docker.labels)
        dead = "LABEL lisa_container.lease=0123456789abcdef lisa_container.owner=0"
        since = "lisa_container.since=2020-01-01T00:00:00Z lisa_container.container="
        named = f"{dead} {since} lisa_container.name=strangers/app:latest"
        ship(image_from_layers([{"file": b"x"}], cmd=["/x"]), [node], name="ours/base")
        made = machine.run(
            "docker commit by_the_sdk strangers/commit && docker commit by_the_sdk && "
            f"printf 'FROM {BUSYBOX}\\n{named}\\n' | docker build -q -t strangers/base - && "
            "printf 'FROM strangers/base\\nRUN true\\n' | docker build -q -t strangers/app - && "
            "printf 'FROM strangers/base\\nRUN echo\\n' | docker build -q - && "
            f"printf 'FROM {BUSYBOX}\\nRUN echo 1\\n' | docker build -q - && "
            "printf 'FROM ours/base\\nLABEL x=y\\n' | docker build -q -",
            timeout=120,
        ).stdout.split()
        sweep_anew(container.engine)
    release_lease(node)
    engine = Engine.of(node)
    sweep_anew(engine)
    left = machine.run("docker images -q --no-trunc").stdout.split()
    assert len(made) == 7 and set(made) <= set(left)
    assert "ours/base" not in images(machine)


def sweep_anew(engine: Engine) -> None:
    """Do a sweep as if the node had been booted long ago."""
    findings = Findings.of(engine)
    leases = replace(findings.leases, is_booting=False)
    sweep(engine, replace(findings, leases=leases))


def test_image_after_a_reboot(machine: SandboxNode, node: Node) -> None:
    """Each user's sweep, and root's, removes what a run made, finished or not, and no more."""
    lease = Lease.of(Engine.of(node))
    one, two = (lease.image_labels(f"ours/{name}:1") for name in ("one", "two"))
    for labels in (one, two):
        changes = " ".join(f"--change 'LABEL {k}={v}'" for k, v in labels.items() if v)
        machine.run(
            f"tar -c -C / etc/hostname | docker import {changes} - {labels['lisa_container.name']}"
        )
    lease.list_image(one)
    machine.run("printf 'FROM ours/one:1\\nLABEL x=y\\n' | docker build -q -t strangers/x -")
    renewal = lease._renewal
    assert renewal is not None
    renewal._wake.set()  # renew no more, as if this process were killed
    renewal._thread.join()
    machine.run(["pkill", "-9", "-f", f"node.sh .*{lease.id}"])
    machine.run(["rm", "-r", renewal.folder])
    engine = Engine.of(node)
    found = [item.name for item in Findings.of(engine).resources if item.what == "image"]
    assert sorted(found) == ["ours/one:1", "ours/two:1"]
    sweep_anew(engine)
    assert images(machine) & {"ours/one", "ours/two", "strangers/x"} == {"strangers/x"}
    assert machine.run(f"ls -d /var/tmp/lisa_container_made.{lease.id}*", check=False).stdout == ""


def test_killed_while_an_image_is_named(machine: SandboxNode, node: Node) -> None:
    """An image that was not listed yet by its id ends with its run."""
    lease = Lease.of(Engine.of(node))
    for labels, name in (
        (lease.image_labels("ours/new:1"), "ours/new:1"),
        (lease.image_labels(), ""),
    ):
        changes = " ".join(f"--change 'LABEL {k}={v}'" for k, v in labels.items() if v)
        machine.run(f"tar -c -C / etc/hostname | docker import {changes} - {name}")
    before = machine.run("docker images -q").stdout.split()
    release_lease(node)
    after = machine.run("docker images -q").stdout.split()
    assert len(before) == len(after) + 2 and "ours/new" not in images(machine)
    assert machine.run(f"ls -d /var/tmp/*.{lease.id}.*", check=False).stdout == ""
