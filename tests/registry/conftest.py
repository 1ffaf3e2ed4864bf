"""A node with registries: open, and with TLS by a CA of the tests' own and htpasswd."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lisa import secret
from lisa.node import Node

from lisa_container import ContainerSettings, use_settings
from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.platforms.sandbox import start_sandbox
from tests.support.engines import MORE_PACKAGES
from tests.support.nodes import connect_as, disconnect
from tests.support.registries import Shelf, stock


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    with start_sandbox(1, packages=MORE_PACKAGES) as sandbox:
        yield stock(sandbox.nodes[0], tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def docker(shelf: Shelf) -> Iterator[DockerAdvanced]:
    """Return the tool for the usual LISA user, who has sudo."""
    node: Node = connect_as(shelf.machine, "sudo")
    yield node.tools[DockerAdvanced]
    disconnect(node)


@pytest.fixture(autouse=True)
def as_before(shelf: Shelf) -> Iterator[None]:
    """Reset the settings and remove all containers and images after each test."""
    yield
    use_settings(ContainerSettings())
    secret.reset()
    machine = shelf.machine
    machine.run("docker ps -aq | xargs -r docker rm -fv >/dev/null")
    machine.run("docker images -q | sort -u | xargs -r docker rmi -f")
