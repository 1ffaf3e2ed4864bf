"""Nodes of the tests: connections, entries for runbooks, and lists of what is on a node."""

from __future__ import annotations

import re
import weakref
from pathlib import Path
from typing import Any

from lisa import schema
from lisa.node import Node, quick_connect

from lisa_container.container.live import release_lease
from lisa_container.engine.client import Engine
from lisa_container.platforms.sandbox import SandboxNode

BUSYBOX = "lisa_container/busybox"
DOCKER_USER = "dockeruser"
STRANGER = "stranger"

_connected: weakref.WeakSet[Node] = weakref.WeakSet()


def connect(
    address: str,
    username: str,
    port: int = 22,
    key: Path | None = None,
    password: str = "",
    name: str = "",
) -> Node:
    """Return a connected LISA node."""
    runbook = schema.RemoteNode(
        name=name,
        address=address,
        public_address=address,
        port=port,
        public_port=port,
        username=username,
        password=password,
        private_key_file=str(key or ""),
    )
    node = quick_connect(runbook, logger_name=name or "node")
    _connected.add(node)
    return node


def add_user(machine: SandboxNode, name: str, groups: str = "") -> None:
    """Add a user without sudo to a sandbox node, who logs in with the node's key.

    Args:
        machine: the node.
        name: login name; an existing user is kept.
        groups: supplementary groups, separated by commas.
    """
    machine.run(
        f"id {name} >/dev/null 2>&1 || useradd --create-home --shell /bin/bash {name}; "
        f"[ -z '{groups}' ] || usermod --append --groups '{groups}' {name}; "
        f"install -d -m 700 -o {name} -g {name} ~{name}/.ssh && "
        f"install -m 600 -o {name} -g {name} ~{machine.username}/.ssh/authorized_keys ~{name}/.ssh/"
    )


def connect_as(machine: SandboxNode, user: str) -> Node:
    """Connect as one of a sandbox node's users.

    Args:
        machine: the node.
        user: `root`, `sudo`, `password` (sudo asks for one), `docker` (in the docker group, without
            sudo) or `stranger` (neither).
    """
    name = f"{machine.name}-{user}"
    if user in ("docker", "stranger"):
        username = DOCKER_USER if user == "docker" else STRANGER
        add_user(machine, username, "docker" if user == "docker" else "")
        return connect(machine.address, username, machine.port, machine.private_key_file, name=name)
    if user == "password":
        return connect(
            machine.address,
            machine.password_username,
            machine.port,
            password=machine.password,
            name=name,
        )
    username = "root" if user == "root" else machine.username
    return connect(machine.address, username, machine.port, machine.private_key_file, name=name)


def disconnect(node: Node) -> None:
    """End the lease, the engine and the connection of a node."""
    release_lease(node)
    Engine.forget(node)
    node.close()
    _connected.discard(node)


def disconnect_all() -> None:
    """Disconnect all nodes that are still connected, at the end of a file."""
    for node in list(_connected):
        disconnect(node)


def as_runbook(machine: SandboxNode, user: str = "sudo") -> dict[str, Any]:
    """Return the node as a runbook's remote node, for one of the users that reach the engine."""
    node: dict[str, Any] = {
        "type": "remote",
        "public_address": machine.address,
        "public_port": machine.port,
    }
    if user == "password":
        return {**node, "username": machine.password_username, "password": machine.password}
    if user == "docker":
        add_user(machine, DOCKER_USER, "docker")
    names = {"root": "root", "sudo": machine.username, "docker": DOCKER_USER}
    return {**node, "username": names[user], "private_key_file": str(machine.private_key_file)}


def containers(machine: SandboxNode, what: str = "{{.Names}}") -> list[str]:
    """Return the output of `docker ps -a` on the node in a format."""
    return machine.run(["docker", "ps", "-a", "--format", what]).stdout.split()


def resources(machine: SandboxNode) -> dict[str, list[str]]:
    """List all that a run could leave on a node, except images, which are a cache."""
    commands = {
        "containers": "docker ps -aq",
        "volumes": "docker volume ls -q",
        "networks": "docker network ls --format '{{.Name}}'",
        "mounts": "cut -d' ' -f1,2 /proc/mounts | grep -v /proc/",
        "processes": "ps -eo args | grep -E 'sleep 2147|relay|lisa' | grep -v grep",
        "files": "ls /tmp | grep -i lisa",
    }
    result = {}
    for name, command in commands.items():
        lines = machine.run(f"{command} || true").stdout.splitlines()
        result[name] = sorted(re.sub(r"\s+", " ", line) for line in lines)
    return result


def engine_resources(machine: SandboxNode) -> list[list[str]]:
    """Return the containers, volumes and networks on the node, whose leases may come and go."""
    found = resources(machine)
    return [found[kind] for kind in ("containers", "volumes", "networks")]
