"""What several tests of the engine need."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Callable

from conftest import BUSYBOX
from lisa.node import Node

from lisa_container.config import ContainerTestConfig
from lisa_container.engine.client import Engine
from lisa_container.engine.create import create_container
from lisa_container.engine.options import create_body
from lisa_container.images import ensure_image
from lisa_container.platforms.sandbox import SandboxNode

MORE_PACKAGES = ("podman", "docker-registry")
"""Named together, so that one root file system with both is made and kept."""


@contextlib.contextmanager
def engine_of(node: Node) -> Iterator[Engine]:
    """An engine of the test's own, with a way to it of its own, both gone at the end."""
    engine = Engine(node)
    try:
        yield engine
    finally:
        engine.close()


@contextlib.contextmanager
def container_of(engine: Engine, *words: str, **options: object) -> Iterator[str]:
    """A started container that runs the words; its id."""
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
    """A second sshd on a node, which forwards no unix sockets."""
    pid_file = f"/run/sshd.{port}.pid"
    words = [f"PidFile={pid_file}", "AllowStreamLocalForwarding=no", "UseDNS=no", *options]
    arguments = [word for option in words for word in ("-o", option)]
    machine.run(["/usr/sbin/sshd", "-p", str(port), *arguments])
    try:
        assert eventually(lambda: machine.run(f"cat {pid_file}", check=False).stdout)
        yield
    finally:
        machine.run(f"kill $(cat {pid_file})")


def eventually(holds: Callable[[], object], seconds: float = 5.0) -> bool:
    """Whether something becomes true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return bool(holds())


def relays(machine: SandboxNode) -> list[str]:
    """The pids of all relays on a node. (A perl relay has a child for each stream.)"""
    return _pids(machine, r"/(var/)?run/[a-z/.]*sock [0-9]+ [0-9.]+$", "-P", "1")


def dial_stdios(machine: SandboxNode) -> list[str]:
    """The pids of all processes of docker's own tunnel on a node."""
    return _pids(machine, r"^docker .*dial-stdio")


def relay_folders(machine: SandboxNode) -> list[str]:
    """What relays keep in the file system of a node."""
    return machine.run(
        "ls -d /run/lisa_container_* /tmp/lisa_container_*", check=False
    ).stdout.split()


def sshd_pids(machine: SandboxNode, user: str) -> list[str]:
    """The pids of the sshd processes that serve a user's connections."""
    return _pids(machine, rf"^sshd: {user}(@|$)")


def cut_connections(machine: SandboxNode, user: str) -> None:
    """End a user's SSH connections from the node's side, as a crash of sshd would."""
    machine.run(["kill", "-9", *sshd_pids(machine, user)])


def dockerds(machine: SandboxNode) -> list[str]:
    """The pids of the Docker Engines of a node."""
    return _pids(machine, r"^(/usr/(s)?bin/)?dockerd")


def _pids(machine: SandboxNode, pattern: str, *options: str) -> list[str]:
    return machine.run(["pgrep", *options, "-f", pattern], check=False).stdout.split()
