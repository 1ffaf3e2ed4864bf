"""A config in the words of the engine's API."""

from __future__ import annotations

from typing import Any, Dict, List

from lisa_container.config import ContainerTestConfig
from lisa_container.engine.client import Engine
from lisa_container.engine.labels import run_labels
from lisa_container.engine.privileges import missing_capabilities, privileged_options


def create_body(engine: Engine, config: ContainerTestConfig) -> Dict[str, Any]:
    """What to send to `POST /containers/create` for this config.

    Args:
        engine: of the node; what "privileged" means depends on it.
        config: a checked config that names an image.
    """
    body: Dict[str, Any] = {
        "Image": config.image_reference,
        "Env": [f"{name}={value}" for name, value in config.environment.items()],
        "Labels": {**config.labels, **run_labels()},
        "HostConfig": _host_config(engine, config),
    }
    if config.working_dir:
        body["WorkingDir"] = config.working_dir
    if config.user:
        body["User"] = config.user
    if config.hostname:
        body["Hostname"] = config.hostname
    return body


def _host_config(engine: Engine, config: ContainerTestConfig) -> Dict[str, Any]:
    host: Dict[str, Any] = {
        "Binds": list(config.binds),
        "CapAdd": list(config.cap_add),
        "CapDrop": list(config.cap_drop),
        "Devices": [_device(item) for item in config.devices],
        "Tmpfs": dict(config.tmpfs),
        "Ulimits": [
            {"Name": item.name, "Soft": item.soft, "Hard": item.hard}
            for item in config.parsed_ulimits
        ],
        "ReadonlyRootfs": config.read_only,
        "SecurityOpt": list(config.security_opt),
    }
    if config.network_mode:
        host["NetworkMode"] = config.network_mode
    if config.memory_bytes:
        # Swap set to the same means none: else twice the memory could be used, docker-run(1).
        host["Memory"] = host["MemorySwap"] = config.memory_bytes
    if config.nano_cpus:
        host["NanoCpus"] = config.nano_cpus
    if config.pids_limit is not None:
        host["PidsLimit"] = config.pids_limit
    if config.privileged:
        _add_privileges(engine, host)
    return host


def _add_privileges(engine: Engine, host: Dict[str, Any]) -> None:
    granted = engine.capabilities
    missing = missing_capabilities(engine.node, granted)
    if missing:
        engine.note_once(
            f"privileged containers on node '{engine.node.name}' lack {', '.join(missing)}: its "
            "engine does not have them to give"
        )
    dropped = set(host["CapDrop"])
    for key, value in privileged_options(granted, missing).items():
        host[key] = [*host.get(key, []), *value] if isinstance(value, list) else value
    host["CapAdd"] = [name for name in dict.fromkeys(host["CapAdd"]) if name not in dropped]


def _device(item: str) -> Dict[str, str]:
    on_host, in_container, access = item.split(":")
    return {"PathOnHost": on_host, "PathInContainer": in_container, "CgroupPermissions": access}


def changes(host: Dict[str, Any], said: str) -> List[str]:
    """Adapt a HostConfig the engine refused, where something lesser still serves.

    Args:
        host: changed in place.
        said: the engine's words.

    Returns:
        What was given up, for the log; empty where nothing can be done.
    """
    lower = said.lower()
    if "not a shared or slave mount" in lower and any("rslave" in x for x in host["Binds"]):
        host["Binds"] = [bind.replace(":rslave", "") for bind in host["Binds"]]
        return ["the node's root is a private mount: what is mounted later is not seen in /host"]
    if "init" in lower and "not found" in lower and host.get("Init") and "docker-init" in lower:
        host["Init"] = False
        return ["the engine has no docker-init: zombie processes are not reaped"]
    return []
