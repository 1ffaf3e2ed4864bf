"""Privileged containers on an engine that lacks capabilities itself.

An engine inside a container, a sandbox or a CI machine may run with a smaller bounding set than the
kernel's. `--privileged` then fails ("unable to apply caps"), since it asks for all capabilities. On
such an engine the parts of `--privileged` are requested one by one: every capability that the
engine can grant, seccomp and AppArmor unconfined, no masked or read-only paths, all devices.

The engine's API has no option for one part: /sys and the cgroups stay mounted read-only. A process
in the container can run `mount -o remount,rw /sys` itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import docker
import docker.errors
from lisa.node import Node

from lisa_container.config.privileges import CAPABILITIES
from lisa_container.engine.script import run_script
from lisa_container.errors import SudoError
from lisa_container.escaping import printable

ALL_CAPABILITIES = "ALL"

# Process whose bounding set counts. podman has no daemon: it is the service, or init if the service
# is started on demand.
_PROCESSES = {"docker": "dockerd", "podman": "podman"}

_FIND = "pid=$(cat /run/docker.pid 2>/dev/null || pidof %s | cut -d' ' -f1)"

# Limits: name in the kernel -> name in the engine's API.
_LIMITS = {"Max processes": "nproc", "Max open files": "nofile"}

# Entries of /dev that a container gets of its own; runc leaves the same out for --privileged.
# https://github.com/opencontainers/runc/blob/v1.1.0/libcontainer/devices/device_unix.go
_OWN = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"]

_NO_IMAGE = "lisa_container/there-is-no-such-image:latest"


@dataclass(frozen=True)
class Capabilities:
    """Names of capabilities (`CAP_…`), in the kernel's order.

    Attributes:
        granted: capabilities that the engine can give to a container.
        missing: capabilities that the node's kernel has and the engine lacks.
    """

    granted: tuple[str, ...]
    missing: tuple[str, ...]


def find_capabilities(node: Node, kind: str, api: docker.APIClient) -> Capabilities:
    """Return the capabilities of a node's engine, from the bounding set of its process.

    Args:
        node: the engine's node.
        kind: `docker` or `podman`.
        api: the engine's API.
    """
    script = (
        f"cat /proc/sys/kernel/cap_last_cap; {_FIND % _PROCESSES[kind]}; "
        "grep -h CapBnd /proc/${pid:-1}/status 2>/dev/null || grep CapBnd /proc/1/status"
    )
    for output in _outputs(node, script, (False, True)):
        match = re.search(r"^(\d+)\s+CapBnd:\s*([0-9a-fA-F]+)", output)
        if match is not None:
            break
    else:
        node.log.debug("cannot read the engine's bounding set, all capabilities are assumed")
        return Capabilities(CAPABILITIES, ())
    kernels = CAPABILITIES[: int(match.group(1)) + 1]
    bits = int(match.group(2), 16)
    granted = [name for bit, name in enumerate(kernels) if bits >> bit & 1]
    missing = tuple(name for name in kernels if name not in granted)
    return Capabilities(_known(api, granted) if missing else tuple(granted), missing)


def default_limits(node: Node, kind: str) -> list[dict[str, Any]]:
    """Return the engine's own limits of processes and open files, which it may always set.

    podman raises these limits as soon as a container has any limit, and that fails without
    CAP_SYS_RESOURCE.

    Args:
        node: the engine's node.
        kind: `docker` or `podman`.

    Returns:
        `Ulimits` of the engine's API.
    """
    command = f"{_FIND % _PROCESSES[kind]}; cat /proc/${{pid:-self}}/limits"
    output = next(_outputs(node, command, (True, False)))
    rows = re.findall(rf"^({'|'.join(_LIMITS)}) +(\d+) +(\d+)", output, re.MULTILINE)
    return [{"Name": _LIMITS[x], "Soft": int(soft), "Hard": int(hard)} for x, soft, hard in rows]


def add_privileges(host: dict[str, Any], capabilities: Capabilities, devices: list[str]) -> None:
    """Make a container as privileged as an engine can that lacks capabilities.

    Args:
        host: the HostConfig of the engine's API, changed in place.
        capabilities: the engine's capabilities.
        devices: device files of the node, see `list_devices`.
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
    """Return the device files that --privileged would put into a container."""
    own = " -o ".join(f"-path /dev/{name}" for name in _OWN)
    command = rf"find /dev \( {own} \) -prune -o \( -type b -o -type c \) -print"
    return run_script(node, command).stdout.split()


def _outputs(node: Node, script: str, sudo: Iterable[bool]) -> Iterator[str]:
    """Yield the output of a script with and without sudo, in the given order.

    With hidepid, /proc shows root's processes only to root. A user without sudo gets no output
    with it.
    """
    for as_root in sudo:
        try:
            yield run_script(node, script, as_root).stdout
        except SudoError as error:
            node.log.debug(printable(error))


def _known(api: docker.APIClient, names: Iterable[str]) -> tuple[str, ...]:
    """Return the capabilities that the engine, which may be older than the kernel, knows by name.

    Some builds of Docker 20.10 do not know CAP_BPF. The names are tried on a container of an image
    that does not exist, so no container is created.
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
