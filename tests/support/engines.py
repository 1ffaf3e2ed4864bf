"""Helpers for tests of the engine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lisa.node import Node

from lisa_container.config import ContainerTestConfig
from lisa_container.container.create import create_container
from lisa_container.container.options import create_body
from lisa_container.engine.client import Engine
from lisa_container.images import ensure_image
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import BUSYBOX
from tests.support.waiting import eventually

MORE_PACKAGES = (
    *("podman", "netavark", "aardvark-dns", "docker-registry", "fish", "tcsh", "zsh"),
    *("mksh", "posh", "yash", "ksh93u+m"),
)
"""Packages for sandbox nodes; one list, so that only one root file system with them is made."""


@contextlib.contextmanager
def engine_of(node: Node) -> Iterator[Engine]:
    """Connect to the node's engine with a dialer of its own, closed at the end."""
    engine = Engine(node)
    try:
        yield engine
    finally:
        engine.close()


@contextlib.contextmanager
def container_of(engine: Engine, *words: str, **options: object) -> Iterator[str]:
    """Start a container that runs the words; return its id."""
    config = ContainerTestConfig(image=BUSYBOX).merged(**options)
    ensure_image(engine, config)
    body = {**create_body(engine, config), "Cmd": list(words or ["sleep", "1000"])}
    container = create_container(engine, body, None)
    try:
        engine.api.start(container)
        yield container
    finally:
        engine.api.remove_container(container, force=True, v=True)


@contextlib.contextmanager
def closed_sshd(machine: SandboxNode, port: int, *options: str) -> Iterator[None]:
    """Start a second sshd on a node that does not forward unix sockets."""
    pid_file = f"/run/sshd.{port}.pid"
    words = [f"PidFile={pid_file}", "AllowStreamLocalForwarding=no", "UseDNS=no", *options]
    arguments = [word for option in words for word in ("-o", option)]
    machine.run(["/usr/sbin/sshd", "-p", str(port), *arguments])
    try:
        assert eventually(lambda: machine.run(f"cat {pid_file}", check=False).stdout)
        yield
    finally:
        machine.run(f"kill $(cat {pid_file})")


def relays(machine: SandboxNode) -> list[str]:
    """Return the pids of all relays on a node, without a perl relay's children for streams."""
    return _pids(machine, r"/(var/)?run/[a-z/.]*sock [0-9]+ [0-9.]+$", "-P", "1")


def dial_stdios(machine: SandboxNode) -> list[str]:
    """Return the pids of all processes `docker system dial-stdio` on a node."""
    return _pids(machine, r"^docker .*dial-stdio")


def relay_folders(machine: SandboxNode) -> list[str]:
    """Return the folders of relays on a node."""
    return machine.run(
        "ls -d /run/lisa_container_* /tmp/lisa_container_*", check=False
    ).stdout.split()


def sshd_pids(machine: SandboxNode, user: str) -> list[str]:
    """Return the pids of the sshd processes that serve a user's connections."""
    return _pids(machine, rf"^sshd: {user}(@|$)")


def cut_connections(machine: SandboxNode, user: str) -> None:
    """Kill a user's SSH connections on the node, as a crash of sshd would."""
    machine.run(["kill", "-9", *sshd_pids(machine, user)])


def dockerds(machine: SandboxNode) -> list[str]:
    """Return the pids of the Docker Engines of a node."""
    found = _pids(machine, r"^(/usr/(s)?bin/)?dockerd")
    # A program that an engine starts has the engine's name for a moment.
    return [pid for pid in found if _parent(machine, pid) not in found]


def _parent(machine: SandboxNode, pid: str) -> str:
    return machine.run(["ps", "-o", "ppid=", "-p", pid], check=False).stdout.strip()


def _pids(machine: SandboxNode, pattern: str, *options: str) -> list[str]:
    return machine.run(["pgrep", *options, "-f", pattern], check=False).stdout.split()
