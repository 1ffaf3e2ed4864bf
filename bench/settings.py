"""The settings of a container, for one just like it that is made without us."""

from __future__ import annotations

from typing import Any

from lisa_container import ContainerExecutor


def settings_of(container: ContainerExecutor) -> dict[str, Any]:
    """What to send to `POST /containers/create` for a container like this one.

    Args:
        container: started.
    """
    found = container.inspect()
    # The engine names the host after the container's id.
    config = {name: value for name, value in found["Config"].items() if name != "Hostname"}
    return {**config, "HostConfig": found["HostConfig"]}
