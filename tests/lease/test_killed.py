"""Runners killed at random points of all kinds of work leave nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from lisa_container import ContainerExecutor, ContainerTestConfig, DockerAdvanced
from lisa_container.container.live import release_lease
from lisa_container.engine.lease.lease import Lease
from lisa_container.platforms.sandbox import SandboxNode, start_sandbox
from tests.support.engines import MORE_PACKAGES
from tests.support.nodes import BUSYBOX, connect_as
from tests.support.registries import serve_registry
from tests.support.runners import Runner, Runners, left, wait_until_clean
from tests.support.soak import amount, dice

REGISTRY = "127.0.0.1:5000"
# One image for each simultaneous runner: Docker lets an image lose its name while a container of it
# starts.
IMAGES = [f"{REGISTRY}/image:{index}" for index in range(6)]
WORKS = (
    *("pull", "create", "build", "run", "run_async"),
    *("copy_to", "copy_from", "remove", "detach", "ship"),
)
ROUNDS, AT_A_TIME = amount(102, 6), 6


@pytest.fixture(scope="module")
def registry() -> Iterator[SandboxNode]:
    """Start a node with a registry on its loopback that has images of some MiB."""
    with start_sandbox(1, packages=MORE_PACKAGES) as sandbox:
        machine = sandbox.nodes[0]
        serve_registry(machine, "open", REGISTRY)
        node = connect_as(machine, "root")
        with ContainerExecutor(node, ContainerTestConfig(image=BUSYBOX)) as container:
            for image in IMAGES:
                container.run("head -c 6m /dev/urandom >/random", expected_exit_code=0)
                # Imported, not committed: pulled images stay, and these must have no labels of ours.
                machine.run(f"docker export {container.id} | docker import - {image}")
        for image in IMAGES:
            machine.run(f"docker push {image} && docker rmi {image}", timeout=120)
        release_lease(node)
        node.close()
        assert left(machine) == []
        yield machine


@dataclass
class Victim:
    """Runner and the time to kill it."""

    runner: Runner
    seconds: float
    is_ready: bool  # whether they count from its being ready

    def kill(self) -> None:
        if self.is_ready:
            self.runner.wait_for("ready")
        time.sleep(self.seconds)
        self.runner.kill()


@pytest.mark.soak
def test_killed_at_random(registry: SandboxNode, runners: Runners) -> None:
    """Killed runners leave nothing, and a living one is not affected."""
    chance = dice("killed at random")
    node = connect_as(registry, "root")
    living = ContainerExecutor(
        node, ContainerTestConfig(image=BUSYBOX, volumes={"of_the_living": "/data"}), "living"
    ).start()
    network = node.tools[DockerAdvanced].create_network("network_of_the_living")
    session = living.run_async("while read -r line; do echo $line; done", interactive=True)
    lease = Lease.of(living.engine)
    works = [work for _ in range(ROUNDS // len(WORKS) + 1) for work in WORKS][:ROUNDS]
    chance.shuffle(works)
    while works:
        batch, works = works[:AT_A_TIME], works[AT_A_TIME:]
        victims = []
        for index, work in enumerate(batch):
            user = chance.choice(["root", "sudo", "password"])
            image = IMAGES[index % len(IMAGES)]
            runner = runners.start(registry, work, user, chance.choice([4, 6]), image)
            is_ready = chance.random() < 0.6
            victims.append(Victim(runner, chance.uniform(0, 1.5 if is_ready else 3), is_ready))
        with ThreadPoolExecutor(AT_A_TIME) as killers:
            list(killers.map(Victim.kill, victims))
        session.write(b"still here\n")
        assert living.run("echo alive").stdout == "alive"
    wait_until_clean(registry, lease.id, "living", " tests ")
    assert living.run("echo alive").stdout == "alive"
    assert lease.why_gone() == ""
    seen = left(registry)
    assert any("container tests living" in line for line in seen)
    assert any("volume tests of_the_living" in line for line in seen)
    assert any("network tests network_of_the_living" in line for line in seen)
    session.close_stdin()
    said = session.wait(60).stdout
    assert said.splitlines() == ["still here"] * len(said.splitlines()) != []
    living.stop()
    node.tools[DockerAdvanced].remove_network(network)
    release_lease(node)
    node.close()
    assert left(registry) == []
