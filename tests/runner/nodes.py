"""Sandbox nodes in runbooks, and what is on them."""

from __future__ import annotations

import re
from typing import Any

from lisa_container.platforms.sandbox import SandboxNode


def as_runbook(machine: SandboxNode, user: str = "sudo") -> dict[str, Any]:
    """The node as a runbook's remote node."""
    node: dict[str, Any] = {
        "type": "remote",
        "public_address": machine.address,
        "public_port": machine.port,
    }
    if user == "password":
        return {**node, "username": machine.password_username, "password": machine.password}
    username = "root" if user == "root" else machine.username
    return {**node, "username": username, "private_key_file": str(machine.private_key_file)}


def containers(machine: SandboxNode, what: str = "{{.Names}}") -> list[str]:
    """What `docker ps -a` on the node shows."""
    return machine.run(["docker", "ps", "-a", "--format", what]).stdout.split()


def resources(machine: SandboxNode) -> dict[str, list[str]]:
    """All on the node that a run could leave behind (images are kept as a cache)."""
    commands = {
        "containers": "docker ps -aq",
        "volumes": "docker volume ls -q",
        "networks": "docker network ls --format '{{.Name}}'",
        "mounts": "cut -d' ' -f1,2 /proc/mounts | grep -v /proc/",
        "processes": "ps -eo args | grep -E 'sleep 2147|relay|lisa' | grep -v grep",
        "files": "ls /tmp | grep -i lisa",
    }
    found = {}
    for name, command in commands.items():
        lines = machine.run(f"{command} || true").stdout.splitlines()
        found[name] = sorted(re.sub(r"\s+", " ", line) for line in lines)
    return found
