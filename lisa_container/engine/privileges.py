"""What "privileged" can mean on an engine that lacks capabilities itself.

An engine inside a container, a sandbox or a CI machine may run with a smaller bounding set than the
kernel's. `--privileged` then fails ("unable to apply caps"), since it asks for all of them. So where
the engine lacks some, the same is asked for piece by piece: every capability it can grant, seccomp
and AppArmor unconfined, no masked or read-only paths, all devices.
"""

from __future__ import annotations

import re
from typing import Any

from lisa.node import Node

from lisa_container.config.privileges import CAPABILITIES

# The process whose bounding set counts: dockerd; for podman, which has no daemon, the service or,
# where that is started on demand, init, from which it will be started.
_PROCESSES = {"docker": "dockerd", "podman": "podman"}


def grantable_capabilities(node: Node, kind: str) -> list[str]:
    """The capabilities that the engine of a node can give to a container.

    Args:
        node: where the engine runs.
        kind: `docker` or `podman`.
    """
    script = (
        f"pid=$(cat /run/docker.pid 2>/dev/null || pidof {_PROCESSES[kind]} | cut -d' ' -f1); "
        "grep -h CapBnd /proc/${pid:-1}/status 2>/dev/null || grep CapBnd /proc/1/status"
    )
    result = node.execute(script, shell=True, no_info_log=True)
    match = re.search(r"CapBnd:\s*([0-9a-fA-F]+)", result.stdout)
    if match is None:
        node.log.debug(f"cannot read the engine's bounding set, all assumed: {result.stdout}")
        return list(CAPABILITIES)
    bits = int(match.group(1), 16)
    return [name for bit, name in enumerate(CAPABILITIES) if bits >> bit & 1]


def missing_capabilities(node: Node, granted: list[str]) -> list[str]:
    """Capabilities this node's kernel knows and the engine cannot give.

    Args:
        node: where the engine runs.
        granted: what the engine can give.
    """
    result = node.execute("cat /proc/sys/kernel/cap_last_cap", no_info_log=True)
    last = int(result.stdout) if result.stdout.isdigit() else len(CAPABILITIES) - 1
    return [name for name in CAPABILITIES[: last + 1] if name not in granted]


def privileged_options(granted: list[str], missing: list[str]) -> dict[str, Any]:
    """Options of the engine's HostConfig that make a container as privileged as can be.

    Args:
        granted: what the engine can give.
        missing: what it cannot.

    Returns:
        `{"Privileged": True}` where the engine lacks nothing; else the same piece by piece.
    """
    if not missing:
        return {"Privileged": True}
    return {
        "CapAdd": granted,
        "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined", "label=disable"],
        "MaskedPaths": [],
        "ReadonlyPaths": [],
        # A folder here means every device in it, as --privileged has it.
        "Devices": [{"PathOnHost": "/dev", "PathInContainer": "/dev", "CgroupPermissions": "rwm"}],
        "DeviceCgroupRules": ["a *:* rwm"],
    }
