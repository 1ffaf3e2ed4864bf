"""A node with registries: open, and with TLS by a CA of the tests' own and htpasswd."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import connect_as, disconnect
from helpers import MORE_PACKAGES
from lisa import secret
from lisa.node import Node
from registries import (
    AUTH,
    OTHER_PASSWORD,
    OTHER_USER,
    PASSWORD,
    TLS,
    USER,
    Certificates,
    Shelf,
    give_accounts,
    put_image,
    serve_registry,
)

from lisa_container import ContainerSettings, use_settings
from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.images import LayerEntry, image_from_layers
from lisa_container.platforms.sandbox import start_sandbox


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    with start_sandbox(1, packages=MORE_PACKAGES) as sandbox:
        machine = sandbox.nodes[0]
        made = Certificates.make(tmp_path_factory.mktemp("tls"), machine.address)
        for file in (made.server, made.key):
            machine.run(f"cat > /root/{file.name}", stdin=file.read_text())
        give_accounts(machine, {USER: PASSWORD, OTHER_USER: OTHER_PASSWORD})
        private = f"{machine.address}:5443"
        serve_registry(machine, "open", "0.0.0.0:5000")
        serve_registry(machine, "private", private, AUTH, TLS)
        url, digests = f"http://{machine.address}:5000", {}
        root = Path(f"/proc/{machine.pid}/root")
        shell = {f"bin/{name}": LayerEntry.symlink("busybox") for name in ("sh", "sleep", "cat")}
        base = {"bin/busybox": root / "bin/busybox", **shell}
        for tag in ("1", "2"):
            image = image_from_layers([base, {"tag": tag.encode()}], env={"PATH": "/bin"})
            digests[f"team/tool:{tag}"] = put_image(url, "team/tool", tag, image)
        large = image_from_layers([base, {"large": os.urandom(8 << 20)}], env={"PATH": "/bin"})
        put_image(url, "team/large", "1", large)
        digests["large"] = large.layers[-1].digest
        both = [
            image_from_layers([{"platform": name.encode()}], platform=name, cmd=["/none"])
            for name in ("linux/amd64", "linux/arm64")
        ]
        digests["team/both:1"] = put_image(url, "team/both", "1", *both)
        yield Shelf(machine, private, url, made.ca, digests)


@pytest.fixture(scope="module")
def docker(shelf: Shelf) -> Iterator[DockerAdvanced]:
    """As the usual LISA user, who has sudo."""
    node: Node = connect_as(shelf.machine, "sudo")
    yield node.tools[DockerAdvanced]
    disconnect(node)


@pytest.fixture(autouse=True)
def as_before(shelf: Shelf) -> Iterator[None]:
    """Each test finds the node without the images, and no settings in force."""
    yield
    use_settings(ContainerSettings())
    secret.reset()
    machine = shelf.machine
    machine.run("docker ps -aq | xargs -r docker rm -fv >/dev/null")
    machine.run("docker images -q | sort -u | xargs -r docker rmi -f")
