"""Settings of a container, for creating an equal one without lisa_container."""

from __future__ import annotations

from typing import Any

from lisa_container import ContainerExecutor


def settings_of(container: ContainerExecutor) -> dict[str, Any]:
    """Return a body of `POST /containers/create` for a container like this one.

    Args:
        container: the started container.
    """
    state = container.inspect()
    # The engine derives the host name from the container's id.
    config = {name: value for name, value in state["Config"].items() if name != "Hostname"}
    return {**config, "HostConfig": state["HostConfig"]}
