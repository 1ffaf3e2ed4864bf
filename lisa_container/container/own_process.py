"""Containers whose first process is the image's own: a service, or a whole system with systemd."""

from __future__ import annotations

from typing import Any

from lisa_container.config import ContainerTestConfig
from lisa_container.container.keepalive import find_program, program_folders
from lisa_container.engine.client import Engine

STOP_TIMEOUT = 10
"""Seconds that the process has to end by itself before the engine kills it, as docker-stop(1)."""

# systemd(1), SIGNALS: halt the system. An interface of its container interface:
# https://systemd.io/CONTAINER_INTERFACE
_HALT = "SIGRTMIN+3"
_CGROUPS = "/sys/fs/cgroup"
# systemd wants these empty at each start. Without "exec" docker would mount them with noexec.
_TMPFS = {"/run": "exec,mode=755", "/run/lock": "exec,mode=1777"}


def is_systemd(engine: Engine, container: str) -> bool:
    """Return whether the first process of a container that was created is systemd.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.

    Raises:
        EngineError: The engine refused.
    """
    with engine.errors(container):
        program = str(engine.api.inspect_container(container)["Path"])
    path = find_program(engine, container, program_folders(engine, container), program)
    return path is not None and path.rpartition("/")[2] == "systemd"


def prepare_systemd(engine: Engine, config: ContainerTestConfig, body: dict[str, Any]) -> None:
    """Change the creation request of a container as systemd needs it.

    Args:
        engine: Engine of the node.
        config: Config of the container; its own mounts and signals count more.
        body: Result of `options.create_body`, changed in place.
    """
    host = body["HostConfig"]
    body["Env"] = [f"container={engine.kind}", *body["Env"]]
    body["StopSignal"] = _HALT
    targets = {bind.split(":")[1] for bind in host["Binds"]}
    host["Tmpfs"] = {**{k: v for k, v in _TMPFS.items() if k not in targets}, **host["Tmpfs"]}
    if config.privileged and not host.get("Privileged") and _CGROUPS not in targets:
        # The engine lacks capabilities, and mounts the cgroups read-only then.
        host["Binds"] = [*host["Binds"], f"{_CGROUPS}:{_CGROUPS}:rw"]
        host["CgroupnsMode"] = "host"
