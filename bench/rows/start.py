"""Start and removal of one container.

`executor.start()` to its return, with the container running and ready for commands, and
`executor.stop()`, over SSH as a user with sudo; beside the SDK (`docker.APIClient`) on the
engine's own socket with no SSH between: create (the very same settings, as `inspect` gave them),
start, inspect, and removal.
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
    # A removal may end in the background.
    assert container not in [found["Id"] for found in api.containers(all=True, quiet=True)]
