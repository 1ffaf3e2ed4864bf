"""What "privileged" can mean on an engine that lacks capabilities itself.

An engine inside a container, a sandbox or a CI machine may run with a smaller bounding set than
the kernel's. `--privileged` then fails ("unable to apply caps"), since it asks for all of them. So
where the engine lacks some, the same is asked for piece by piece: every capability it can grant,
seccomp and AppArmor unconfined, no masked or read-only paths, all devices.

One thing has no words of its own in the engine's API: /sys and the cgroups stay mounted read-only.
A process in the container may do it itself, `mount -o remount,rw /sys`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import docker
import docker.errors
from lisa.node import Node

from lisa_container.config.privileges import CAPABILITIES

ALL_CAPABILITIES = "ALL"

# The process whose bounding set counts: dockerd; for podman, which has no daemon, the service or,
# where that is started on demand, init, from which it will be started.
_PROCESSES = {"docker": "dockerd", "podman": "podman"}

_FIND = "pid=$(cat /run/docker.pid 2>/dev/null || pidof %s | cut -d' ' -f1)"

# As the kernel names them, and as the engine's API does.
_LIMITS = {"Max processes": "nproc", "Max open files": "nofile"}

# As runc's list of the host's devices for --privileged has it: what a container gets of its own.
# https://github.com/opencontainers/runc/blob/v1.1.0/libcontainer/devices/device_unix.go
_OWN = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"]

_NO_IMAGE = "lisa_container/there-is-no-such-image:latest"


@dataclass(frozen=True)
class Capabilities:
    """Names of capabilities (`CAP_…`), in the kernel's order.

    Attributes:
        granted: what the engine can give to a container.
        missing: what the node's kernel knows and the engine does not have.
    """

    granted: tuple[str, ...]
    missing: tuple[str, ...]


def find_capabilities(node: Node, kind: str, api: docker.APIClient) -> Capabilities:
    """What the engine of a node can give, as the bounding set of its own process says.

    Args:
        node: where the engine runs.
        kind: `docker` or `podman`.
        api: of the engine.
    """
    script = (
        f"cat /proc/sys/kernel/cap_last_cap; {_FIND % _PROCESSES[kind]}; "
        "grep -h CapBnd /proc/${pid:-1}/status 2>/dev/null || grep CapBnd /proc/1/status"
    )
    for sudo in (False, True):  # a mount of /proc with hidepid shows root's processes to root only
        output = node.execute(script, shell=True, sudo=sudo, no_info_log=True).stdout
        match = re.search(r"^(\d+)\s+CapBnd:\s*([0-9a-fA-F]+)", output)
        if match is not None:
            break
    else:
        node.log.debug(f"cannot read the engine's bounding set, all assumed: {output}")
        return Capabilities(CAPABILITIES, ())
    kernels = CAPABILITIES[: int(match.group(1)) + 1]
    bits = int(match.group(2), 16)
    granted = [name for bit, name in enumerate(kernels) if bits >> bit & 1]
    missing = tuple(name for name in kernels if name not in granted)
    return Capabilities(_known(api, granted) if missing else tuple(granted), missing)


def default_limits(node: Node, kind: str) -> list[dict[str, Any]]:
    """Limits of processes and open files that the engine may set without further capabilities: its
    own.

    podman asks for more as soon as a container is given any limit, and fails without
    CAP_SYS_RESOURCE.

    Args:
        node: where the engine runs.
        kind: `docker` or `podman`.

    Returns:
        `Ulimits` of the engine's API.
    """
    command = f"{_FIND % _PROCESSES[kind]}; cat /proc/${{pid:-self}}/limits"
    output = node.execute(command, shell=True, sudo=True, no_info_log=True).stdout
    found = re.findall(rf"^({'|'.join(_LIMITS)}) +(\d+) +(\d+)", output, re.MULTILINE)
    return [{"Name": _LIMITS[x], "Soft": int(soft), "Hard": int(hard)} for x, soft, hard in found]


def add_privileges(host: dict[str, Any], capabilities: Capabilities, devices: list[str]) -> None:
    """Make a container as privileged as can be, where the engine lacks capabilities.

    Args:
        host: the HostConfig of the engine's API, changed in place.
        capabilities: the engine's.
        devices: of the node, see `list_devices`.
    """
    dropped = set(host["CapDrop"])
    host["CapAdd"] = [name for name in capabilities.granted if name not in dropped]
    host["SecurityOpt"] += ["seccomp=unconfined", "apparmor=unconfined", "label=disable"]
    host["MaskedPaths"], host["ReadonlyPaths"] = [], []
    named = {device["PathInContainer"] for device in host["Devices"]}
    host["Devices"] += [
        {"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rwm"}
        for path in devices
        if path not in named
    ]
    host["DeviceCgroupRules"] = ["a *:* rwm"]


def list_devices(node: Node) -> list[str]:
    """The device files that --privileged would put into a container."""
    own = " -o ".join(f"-path /dev/{name}" for name in _OWN)
    command = rf"find /dev \( {own} \) -prune -o \( -type b -o -type c \) -print"
    return node.execute(command, shell=True, no_info_log=True, no_error_log=True).stdout.split()


def _known(api: docker.APIClient, names: Iterable[str]) -> tuple[str, ...]:
    """Those that the engine knows by name: it may be older than the kernel.

    Docker 20.10 can be built not to know CAP_BPF. The names are tried on a container of an image
    that does not exist, so none is created.
    """
    left = list(names)
    while True:
        try:
            api.create_container_from_config({"Image": _NO_IMAGE, "HostConfig": {"CapAdd": left}})
        except docker.errors.APIError as error:
            match = re.search(r'unknown capability: "?(CAP_\w+)', str(error))
            if match is None or match.group(1) not in left:
                return tuple(left)
            left.remove(match.group(1))
