"""Translation of a config into a creation request of the engine's API."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lisa_container.config import ContainerTestConfig, Init
from lisa_container.engine.client import Engine
from lisa_container.engine.lease.lease import Lease
from lisa_container.engine.privileges import ALL_CAPABILITIES, add_privileges
from lisa_container.errors import ConfigError


def create_body(engine: Engine, config: ContainerTestConfig) -> dict[str, Any]:
    """Return the body of `POST /containers/create` for a config.

    Args:
        engine: Engine of the node; the meaning of "privileged" depends on it.
        config: Config with an image.
    """
    body: dict[str, Any] = {
        "Image": config.image_reference,
        "Env": [f"{name}={value}" for name, value in config.environment.items()],
        "Labels": {**config.labels, **Lease.of(engine).container_labels()},
        "HostConfig": _host_config(engine, config),
    }
    if config.entrypoint:
        body["Entrypoint"] = list(config.entrypoint)
    if config.command:
        body["Cmd"] = list(config.command)
    if config.working_dir:
        body["WorkingDir"] = config.working_dir
    if config.user:
        body["User"] = config.user
    if config.hostname:
        body["Hostname"] = config.hostname
    if config.network_aliases:
        endpoint = {"Aliases": list(config.network_aliases)}
        body["NetworkingConfig"] = {"EndpointsConfig": {config.network_mode: endpoint}}
    return body


def _host_config(engine: Engine, config: ContainerTestConfig) -> dict[str, Any]:
    host: dict[str, Any] = {
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
    }
    if config.first_process is not Init.KEEP:
        host["Init"] = config.first_process is Init.ENGINE
    _security_options(host, config.security_opt)
    if config.network_mode:
        host["NetworkMode"] = config.network_mode
    if config.memory_bytes:
        # The same limit for memory and swap means no swap. Otherwise the container could use twice
        # the memory, docker-run(1).
        host["Memory"] = host["MemorySwap"] = config.memory_bytes
    if config.nano_cpus:
        host["NanoCpus"] = config.nano_cpus
    if config.pids_limit is not None:
        host["PidsLimit"] = config.pids_limit
    _add_capabilities(engine, host, config.privileged)
    return host


def _add_capabilities(engine: Engine, host: dict[str, Any], privileged: bool) -> None:
    """Ask for the capabilities that the engine has: otherwise it refuses to start the container."""
    every = ALL_CAPABILITIES in host["CapAdd"]
    if not privileged and not every:
        return
    capabilities = engine.capabilities
    if not capabilities.missing:
        host["Privileged"] = privileged
        return
    engine.note_once(
        f"privileged containers on node '{engine.name}' lack {', '.join(capabilities.missing)}, "
        "which its engine does not have. In these containers /sys is read-only until "
        "'mount -o remount,rw /sys' is run there"
    )
    if privileged:
        add_privileges(host, capabilities, engine.devices)
    else:
        host["CapAdd"] = list(capabilities.granted)


def _security_options(host: dict[str, Any], options: Iterable[str]) -> None:
    """Translate `--security-opt` like docker's command line: the API does not know all values."""
    host["SecurityOpt"] = []
    for option in options:
        name, _, value = option.replace(":", "=", 1).partition("=")
        if option in ("systempaths=unconfined", "systempaths:unconfined"):
            host["MaskedPaths"], host["ReadonlyPaths"] = [], []
        elif name == "seccomp" and value not in ("unconfined", "builtin"):
            host["SecurityOpt"].append(f"seccomp={_seccomp_profile(value)}")
        else:
            host["SecurityOpt"].append(option)


def _seccomp_profile(path: str) -> str:
    try:
        return json.dumps(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"security_opt: given 'seccomp={path}'; legal: 'seccomp=unconfined' or a seccomp "
            f"profile in JSON on this machine, and it cannot be read: {error}"
        ) from error


def _device(item: str) -> dict[str, str]:
    on_host, in_container, access = item.split(":")
    return {"PathOnHost": on_host, "PathInContainer": in_container, "CgroupPermissions": access}
