"""Random faults in a fleet that heals."""

from __future__ import annotations

import pytest
from lisa.node import Node

from lisa_container import ContainerTestConfig
from lisa_container.chaos import (
    ChaosMonkey,
    CpuStress,
    FailureInjector,
    Kill,
    Partition,
    Pause,
    Restart,
    Select,
)
from lisa_container.errors import FaultError
from lisa_container.fleet import Fleet
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.leftovers import stored_faults
from tests.support.nodes import BUSYBOX
from tests.support.soak import amount

WEB = ContainerTestConfig(
    image=BUSYBOX, command="httpd -f -p 80 -h /etc", init="engine", labels={"tier": "web"}
).merged(ready={"port": 80})
SECONDS = amount(300, 60)


@pytest.mark.soak
def test_chaos(node: Node, machine: SandboxNode) -> None:
    """The service is there all the time but for short outages; the figures are from samples."""
    client = ContainerTestConfig(image=BUSYBOX)
    with Fleet(node, WEB, 4, "web", heals=True) as fleet, FailureInjector(node) as injector:
        network = fleet["web-1"].inspect()["HostConfig"]["NetworkMode"]
        with Fleet(node, client.merged(network_mode=network), 1, "client") as clients:
            ask = (
                "for i in 1 2 3; do timeout 2 wget -q -O /dev/null http://web/passwd && exit; done"
            )

            def is_steady() -> bool:
                return clients["client-1"].run(f"{ask}; exit 1", timeout=20).exit_code == 0

            faults = [Kill(), Restart(), Pause(), Partition(), CpuStress()]
            monkey = ChaosMonkey(injector, faults, Select(label="tier=web"), SECONDS)
            report = monkey.run(is_steady)
    print(report)
    bitten = [outcome for outcome in report.outcomes if not outcome.error]
    assert len(bitten) >= len(report.outcomes) / 2 and len(bitten) >= SECONDS / 16, report
    assert report.uptime > 0.5 and report.recovery < 60 and len(report.samples) > SECONDS / 10
    assert injector.active == [] and not stored_faults(machine)


def test_never_well(node: Node) -> None:
    """A run does not begin outside of the steady state, and ends with an error if it stays away."""
    with Fleet(node, WEB, 1, "web") as fleet, FailureInjector(node) as injector:
        select = Select(label="tier=web")
        monkey = ChaosMonkey(injector, [Kill()], select, 3, pause=(1, 1), seed=1)
        with pytest.raises(FaultError, match="is not there before the first fault"):
            monkey.run(lambda: False)
        with pytest.raises(FaultError, match="is not there again 2 seconds after .* seed is 1"):
            monkey.run(lambda: not fleet.dead(), recovery_seconds=2)
