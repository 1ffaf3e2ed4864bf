"""`lisa-container faults`: faults of a run, listed and ended from elsewhere."""

from __future__ import annotations

import json
import subprocess
from typing import Callable

from lisa.node import Node

from lisa_container import ContainerExecutor
from lisa_container.chaos import FailureInjector, Partition, Pause
from lisa_container.platforms.sandbox import SandboxNode
from tests.support import programs
from tests.support.programs import CLI

pytest_plugins = ["tests.support.boxes"]


def faults(machine: SandboxNode, *words: str) -> subprocess.CompletedProcess[str]:
    target = [f"{machine.username}@{machine.address}", "-i", str(machine.private_key_file)]
    return programs.run(*CLI, "faults", *words, *target, timeout=120)


def test_faults(node: Node, machine: SandboxNode, fresh: Callable[..., ContainerExecutor]) -> None:
    box = fresh()
    done = faults(machine)
    assert (done.returncode, done.stdout) == (0, f"no run has a fault on '{machine.address}:22'\n")
    done = faults(machine, "--end", "all")
    assert done.returncode == 1 and "there is no fault to end" in done.stderr
    with FailureInjector(node) as chaos:
        (cut,) = chaos.inject(Partition(), box)
        (frozen,) = chaos.inject(Pause(), box)
        done = faults(machine, "--json")
        listed = {each["id"]: each for each in json.loads(done.stdout)}
        assert set(listed) == {cut.id, frozen.id} and listed[cut.id]["kind"] == "partition"
        assert listed[frozen.id]["container"] == box.name
        assert frozen.id in faults(machine).stdout
        done = faults(machine, "--end", "123", "--end", frozen.id)
        assert done.returncode == 1 and "no fault has the id '123'" in done.stderr
        assert f"ended pause ({frozen.id}) of '{box.name}'" in done.stdout
        assert box.run("echo thawed").stdout == "thawed"
        done = faults(machine, "--end", "all")
        assert done.returncode == 0 and f"ended partition ({cut.id})" in done.stdout
    assert faults(machine).stdout.startswith("no run has a fault")
