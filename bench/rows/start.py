"""Start and removal of one container.

`executor.start()`, after which the container is ready for commands, and `executor.stop()`, over SSH
as a user with sudo. The alternative is the SDK (`docker.APIClient`) on the engine's own socket
without SSH: create with the same settings, start, inspect, and remove.
"""

from __future__ import annotations

import docker

from bench import raw
from bench.result import Line, Target
from bench.settings import settings_of
from bench.stage import BUSYBOX, Stage
from bench.timing import Stopwatch, interleave
from lisa_container import ContainerExecutor, ContainerTestConfig

CONFIG = ContainerTestConfig(image=BUSYBOX)


def measure(stage: Stage) -> list[Line]:
    """Measure the row."""
    with stage.user.node() as node:
        with ContainerExecutor(node, CONFIG) as container:
            settings = settings_of(container)
        api = stage.api()

        def ours(watch: Stopwatch) -> None:
            container = ContainerExecutor(node, CONFIG)
            with watch("start"):
                container.start()
            identity = container.id
            with watch("removal"):
                container.stop()
            _check_gone(api, identity)

        def bare(watch: Stopwatch) -> None:
            with watch("start"):
                container = raw.create_and_start(api, settings)
            with watch("removal"):
                raw.remove(api, container)
            _check_gone(api, container)

        rounds = stage.pick(30, 2)
        found = interleave({"ours": ours, "raw": bare}, rounds)
    calls = {"start": "create, start, inspect", "removal": "remove"}
    return [
        Line(
            phase,
            found["ours"].median(phase),
            f"SDK on the node's own socket: {calls[phase]}",
            found["raw"].median(phase),
            target=Target(1.15),
            samples=rounds,
        )
        for phase in calls
    ]


def _check_gone(api: docker.APIClient, container: str) -> None:
    assert container not in [each["Id"] for each in api.containers(all=True, quiet=True)]
