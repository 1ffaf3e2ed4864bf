"""Registries used by rootful podman."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lisa_container import ContainerSettings, use_settings
from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.errors import (
    ImageNotFoundError,
    ImagePlatformError,
    ImageUnauthorizedError,
    RegistryUntrustedError,
)
from lisa_container.platforms.sandbox import start_sandbox
from tests.support.engines import MORE_PACKAGES
from tests.support.nodes import connect_as, disconnect
from tests.support.registries import OPEN, PASSWORD, USER, Shelf, stock


@pytest.fixture(scope="module")
def podmans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    with start_sandbox(1, packages=MORE_PACKAGES, docker=False) as sandbox:
        machine = sandbox.nodes[0]
        machine.run("rm /etc/init.d/docker /usr/sbin/dockerd")
        # podman's storage does not work on top of an overlay.
        machine.run("mkdir -p /var/lib/docker/podman /var/lib/containers")
        machine.run("mount --bind /var/lib/docker/podman /var/lib/containers")
        yield stock(machine, tmp_path_factory.mktemp("tls"))


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Reset the settings, in the place of the fixture that clears a node with Docker."""
    yield
    use_settings(ContainerSettings())


@pytest.fixture(scope="module")
def podman(podmans: Shelf) -> Iterator[DockerAdvanced]:
    node = connect_as(podmans.machine, "sudo")
    docker = node.tools[DockerAdvanced]
    assert docker.engine.kind == "podman"
    yield docker
    disconnect(node)
    assert podmans.machine.run("ls /etc/containers/certs.d", check=False).returncode != 0


def give(shelf: Shelf, **more: object) -> None:
    entry = {"host": shelf.private, "username": USER, "password": PASSWORD, "ca": str(shelf.ca)}
    use_settings(ContainerSettings.from_mapping({"registries": [entry], **more}))


def test_loopback(podman: DockerAdvanced, podmans: Shelf) -> None:
    """A registry on the loopback needs no TLS, as with Docker."""
    image = f"{OPEN}/team/tool:1@{podmans.digests['team/tool:1']}"
    assert podman.run_in_container(image, "cat /tag").stdout == "1"
    podman.client.images.get(image.replace(":1@", "@")).tag(f"{OPEN}/team/new", "1")
    podman.push_image(f"{OPEN}/team/new:1")
    podman.remove_image(f"{OPEN}/team/new:1", force=True)
    podman.pull_image(f"{OPEN}/team/new:1")
    podman.pull_image(f"{OPEN}/team/both:1", platform="linux/arm64")
    found = podman.client.images.get(f"{OPEN}/team/both:1").attrs
    assert found["Architecture"] == "arm64"
    with pytest.raises(ImageNotFoundError, match="manifest unknown"):
        podman.pull_image(f"{OPEN}/team/none:1")


def test_private(podman: DockerAdvanced, podmans: Shelf) -> None:
    image = f"{podmans.private}/team/tool:1"
    with pytest.raises(RegistryUntrustedError):
        podman.pull_image(image)
    give(podmans)
    assert podman.run_in_container(image, "cat /tag").stdout == "1"
    pinned = f"{image}@{podmans.digests['team/tool:2']}"
    assert podman.run_in_container(pinned, "cat /tag").stdout == "2"
    with pytest.raises(ImageUnauthorizedError, match="user 'reader' of the argument"):
        podman.pull_image(image, username=USER, password="wrong")
    podman.client.images.get(image).tag(f"{podmans.private}/team/new", "1")
    podman.push_image(f"{podmans.private}/team/new:1")
    with pytest.raises(ImageUnauthorizedError, match="could not be pushed"):
        podman.push_image(f"{podmans.private}/team/new:1", username=USER, password="wrong")


def test_platform(podman: DockerAdvanced, podmans: Shelf) -> None:
    give(podmans)
    image = f"{podmans.private}/team/both:1"
    for platform in ("linux/arm64", "linux/amd64"):
        container = podman.create_container(image, platform=platform)
        used = podman.client.images.get(podman.inspect(container)["Image"]).attrs
        assert f"{used['Os']}/{used['Architecture']}" == platform
        podman.remove_container(container, force=True)
    with pytest.raises(ImagePlatformError):
        podman.pull_image(image, platform="linux/riscv64")


def test_mirror(podman: DockerAdvanced, podmans: Shelf) -> None:
    rule = {"from": "registry.example.com", "to": f"{podmans.private}/team"}
    give(podmans, mirrors=[rule])
    assert podman.run_in_container("registry.example.com/tool:1", "cat /tag").stdout == "1"
    pinned = f"registry.example.com/tool@{podmans.digests['team/tool:2']}"
    assert podman.run_in_container(pinned, "cat /tag").stdout == "2"
