"""Runners that are killed outright, at random points of all kinds of work, leave nothing."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from conftest import BUSYBOX, connect_as
from helpers import MORE_PACKAGES
from registries import serve_registry
from runners import Runner, Runners, left, wait_until_clean

from lisa_container import ContainerExecutor, ContainerTestConfig, DockerAdvanced
from lisa_container.engine.lease.lease import Lease
from lisa_container.executor import release_lease
from lisa_container.platforms.sandbox import SandboxNode, start_sandbox

SEED_VARIABLE = "LISA_CONTAINER_TEST_SEED"
REGISTRY = "127.0.0.1:5000"
# One for each of those at a time: Docker lets an image lose its name while another starts from it.
IMAGES = [f"{REGISTRY}/image:{index}" for index in range(6)]
WORKS = (
    *("pull", "create", "build", "run", "run_async"),
    *("copy_to", "copy_from", "remove", "detach"),
)
ROUNDS, AT_A_TIME = 102, 6


@pytest.fixture(scope="module")
def registry() -> Iterator[SandboxNode]:
    """A node with a registry on its loopback that has images of some MiB."""
    with start_sandbox(1, packages=MORE_PACKAGES) as sandbox:
        machine = sandbox.nodes[0]
        serve_registry(machine, "open", REGISTRY)
        node = connect_as(machine, "root")
        with ContainerExecutor(node, ContainerTestConfig(image=BUSYBOX)) as container:
            for image in IMAGES:
                container.run("head -c 6m /dev/urandom >/random", expected_exit_code=0)
                container.engine.api.commit(container.id, *image.rsplit(":", 1))
        for image in IMAGES:
            machine.run(f"docker push {image} && docker rmi {image}", timeout=120)
        release_lease(node)
        node.close()
        assert left(machine) == []
        yield machine


@dataclass
class Victim:
    """A runner and when it is to be killed."""

    runner: Runner
    seconds: float
    is_ready: bool  # whether they count from its being ready

    def kill(self) -> None:
        if self.is_ready:
            self.runner.wait_for("ready")
        time.sleep(self.seconds)
        self.runner.kill()


def test_killed_at_random(registry: SandboxNode, runners: Runners) -> None:
    """One that lives beside them is not disturbed."""
    seed = os.environ.get(SEED_VARIABLE, "") or str(random.randrange(10**9))
    print(f"{SEED_VARIABLE}={seed} repeats this")
    dice = random.Random(seed)
    node = connect_as(registry, "root")
    living = ContainerExecutor(
        node, ContainerTestConfig(image=BUSYBOX, volumes={"of_the_living": "/data"}), "living"
    ).start()
    network = node.tools[DockerAdvanced].create_network("network_of_the_living")
    session = living.run_async("while read -r line; do echo $line; done", interactive=True)
    lease = Lease.of(living.engine)
    works = [work for _ in range(ROUNDS // len(WORKS) + 1) for work in WORKS][:ROUNDS]
    dice.shuffle(works)
    while works:
        batch, works = works[:AT_A_TIME], works[AT_A_TIME:]
        victims = []
        for index, work in enumerate(batch):
            user = dice.choice(["root", "sudo", "password"])
            image = IMAGES[index % len(IMAGES)]
            runner = runners.start(registry, work, user, dice.choice([2, 3]), image)
            is_ready = dice.random() < 0.6
            victims.append(Victim(runner, dice.uniform(0, 1.5 if is_ready else 3), is_ready))
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
