"""The image `lisa_container/debian`, made once for all processes that run tests."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from lisa.node import Node

from lisa_container import ContainerTestConfig
from lisa_container.engine.client import Engine
from lisa_container.images import ensure_image
from lisa_container.platforms.sandbox import SandboxNode

DEBIAN = "lisa_container/debian"


def put_debian(node: Node, machine: SandboxNode, folder: Path) -> None:
    """Make the image on a node, or load the image that another process has made.

    Args:
        node: the node, whose user may reach the engine.
        machine: the sandbox node behind `node`.
        folder: a folder that all processes of this run share.
    """
    engine = Engine.of(node)
    if engine.client.images.list(DEBIAN):
        return
    archive = folder / "debian.tar"
    on_node = Path(f"/proc/{machine.pid}/root/root/debian.tar")
    with (folder / "debian.lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            ensure_image(engine, ContainerTestConfig(image=DEBIAN))
            machine.run(f"docker save -o /root/{on_node.name} {DEBIAN}", timeout=300)
            shutil.copyfile(on_node, archive.with_suffix(".part"))
            on_node.unlink()
            archive.with_suffix(".part").rename(archive)
            return
    shutil.copyfile(archive, on_node)
    machine.run(f"docker load -i /root/{on_node.name}", timeout=300)
    on_node.unlink()


def common_folder(base: Path) -> Path:
    """Return the temporary folder that the processes of a run share.

    Args:
        base: this process's temporary folder.
    """
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
