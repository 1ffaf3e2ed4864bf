"""Start and removal of one container.

`executor.start()` to its return, with the container running and ready for commands, and
`executor.stop()`, over SSH as a user with sudo; beside the SDK (`docker.APIClient`) on the engine's
own socket with no SSH between: create (the very same settings, as `inspect` gave them), start,
inspect, and removal.
"""

from __future__ import annotations

from typing import Any

import docker

from bench.result import Line, Target
from bench.stage import BUSYBOX, Stage
from bench.timing import Stopwatch, interleave
from lisa_container import ContainerExecutor, ContainerTestConfig

CONFIG = ContainerTestConfig(image=BUSYBOX)


def settings_of(container: ContainerExecutor) -> dict[str, Any]:
    """What to send to an engine for a container just like this one."""
    found = container.inspect()
    # The engine gave it this name, after its id.
    config = {name: value for name, value in found["Config"].items() if name != "Hostname"}
    return {**config, "HostConfig": found["HostConfig"]}


def create_and_start(api: docker.APIClient, settings: dict[str, Any]) -> str:
    """A running container; its id."""
    container: str = api.create_container_from_config(settings)["Id"]
    api.start(container)
    assert api.inspect_container(container)["State"]["Running"]
    return container


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

        def raw(watch: Stopwatch) -> None:
            with watch("start"):
                container = create_and_start(api, settings)
            with watch("removal"):
                api.remove_container(container, v=True, force=True)
            _check_gone(api, container)

        rounds = stage.pick(30, 2)
        found = interleave({"ours": ours, "raw": raw}, rounds)
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
