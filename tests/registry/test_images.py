"""Which image a name stands for: mirrors, digests, platforms."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from lisa_container import ContainerExecutor, ContainerSettings, ContainerTestConfig, use_settings
from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.errors import ImageNotFoundError, ImagePlatformError, RegistryUnreachableError
from lisa_container.images import ensure_image
from tests.support.registries import OPEN, PASSWORD, USER, Shelf, tags

# An address where nothing answers.
NOWHERE = "127.0.0.1:1"


def mirror(*rules: tuple[str, str], **more: Any) -> None:
    entries = [{"from": source, "to": target} for source, target in rules]
    use_settings(ContainerSettings.from_mapping({"mirrors": entries, **more}))


def test_mirror(docker: DockerAdvanced, shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    """The longest matching rule, in whole components, applies; the image keeps its name."""
    rules = [
        ("registry.example.com", f"{NOWHERE}/wrong"),
        ("registry.example.com/a/b", f"{OPEN}/team"),
        ("registry.example.com/a/b/to", f"{NOWHERE}/wrong"),
    ]
    mirror(*rules)
    docker.pull_image("registry.example.com/a/b/tool:1")
    assert tags(shelf) == ["registry.example.com/a/b/tool:1"]

    mirror(("docker.io/library", f"{OPEN}/team"))
    with ContainerExecutor(docker.node, ContainerTestConfig(image="tool:2")) as container:
        assert container.run("cat /tag").stdout == "2"
        assert container.inspect()["Config"]["Image"] == "tool:2"


def test_mirrors_name_that_was_there_stays(docker: DockerAdvanced, shelf: Shelf) -> None:
    mirror(("registry.example.com", OPEN))
    docker.pull_image(f"{OPEN}/team/tool:1")
    docker.pull_image("registry.example.com/team/tool:1")
    assert tags(shelf) == [f"{OPEN}/team/tool:1", "registry.example.com/team/tool:1"]


def test_mirror_without_the_image(
    docker: DockerAdvanced, shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    """A failed mirror is followed by the image's own registry; the error names both."""
    logging.getLogger("lisa").addHandler(caplog.handler)
    try:
        mirror((f"{OPEN}/team", f"{OPEN}/none"))
        docker.pull_image(f"{OPEN}/team/tool:1")
        assert tags(shelf) == [f"{OPEN}/team/tool:1"]
        assert (
            f"'{OPEN}/team/tool:1' cannot be pulled from its mirror: image '{OPEN}/none"
            in caplog.text
        )
        mirror((NOWHERE, f"{OPEN}/none"))
        with pytest.raises(RegistryUnreachableError, match=f"refused.*mirror: image '{OPEN}/none/"):
            docker.pull_image(f"{NOWHERE}/tool:1")
    finally:
        logging.getLogger("lisa").removeHandler(caplog.handler)


def test_credentials_of_a_mirror(docker: DockerAdvanced, shelf: Shelf) -> None:
    """A mirror gets its own credentials only, not those given for the image's registry."""
    entry = {"host": shelf.private, "ca": str(shelf.ca)}
    rule = (f"{OPEN}/team", f"{shelf.private}/team")
    mirror(rule, registries=[entry])
    with pytest.raises(ImageNotFoundError, match="mirror: .*asked without credentials"):
        docker.pull_image(f"{OPEN}/team/none:1", username=USER, password=PASSWORD)
    mirror(rule, registries=[{**entry, "username": USER, "password": PASSWORD}])
    docker.pull_image(f"{OPEN}/team/tool:1")
    log = shelf.machine.run(
        "grep -c 'GET /v2/team/tool/manifests/1 .* 200' /root/private.log || grep 'tool/manifests' /root/private.log"
    )
    assert log.stdout, "the private one has served it"


@pytest.mark.parametrize("tag", ["", ":1"])
def test_pin(docker: DockerAdvanced, shelf: Shelf, tag: str) -> None:
    """A pinned digest applies whatever the tag; another image of the name is not used."""
    pinned = f"{OPEN}/team/tool{tag}@{shelf.digests['team/tool:2']}"
    docker.pull_image(f"{OPEN}/team/tool:1")
    with pytest.raises(ImageNotFoundError, match="pull_policy is 'never'"):
        docker.run_in_container(pinned, "true", pull_policy="never")
    assert docker.run_in_container(pinned, "cat /tag").stdout == "2"
    with ContainerExecutor(docker.node, ContainerTestConfig(image=pinned)) as container:
        assert container.run("cat /tag").stdout == "2"
    assert docker.run_in_container(pinned, "cat /tag", pull_policy="never").stdout == "2"


def test_pin_that_there_is_none_of(docker: DockerAdvanced, shelf: Shelf) -> None:
    with pytest.raises(ImageNotFoundError, match=r"manifest unknown|not found"):
        docker.pull_image(f"{OPEN}/team/tool:1@sha256:{'1' * 64}")
    assert tags(shelf) == []


def test_pin_through_a_mirror(docker: DockerAdvanced, shelf: Shelf) -> None:
    """A pinned image from a mirror is checked, and found again without a request."""
    mirror(("registry.example.com", f"{OPEN}/team"))
    pinned = f"registry.example.com/tool:1@{shelf.digests['team/tool:2']}"
    with ContainerExecutor(docker.node, ContainerTestConfig(image=pinned)) as container:
        assert container.run("cat /tag").stdout == "2"
    use_settings(ContainerSettings())
    result = docker.run_in_container(pinned, "cat /tag", pull_policy="never")
    assert result.stdout == "2", "by another call, which has to look for it"


def test_platform(docker: DockerAdvanced, shelf: Shelf) -> None:
    """An image for another platform is not used under the name."""
    image = f"{OPEN}/team/both:1"

    def architecture() -> str:
        return str(docker.client.images.get(image).attrs["Architecture"])

    docker.pull_image(image)
    assert architecture() == "amd64"
    with pytest.raises(ImageNotFoundError, match="'never', and there is none for linux/arm64"):
        docker.create_container(image, platform="linux/arm64", pull_policy="never")
    container = docker.create_container(image, platform="linux/arm64")
    assert architecture() == "arm64"
    assert docker.inspect(container)["Image"] == docker.client.images.get(image).id
    config = ContainerTestConfig(image=image, platform="linux/arm64/v8", pull_policy="never")
    assert ensure_image(docker.engine, config) == config
    docker.create_container(image, platform="linux/amd64")
    assert architecture() == "amd64"


@pytest.mark.parametrize("name", ["team/both:1", "team/tool:1"])
def test_missing_platform(docker: DockerAdvanced, name: str) -> None:
    """A missing platform is an error, for a list of images or a single one."""
    with pytest.raises(ImagePlatformError, match="Name a platform that it has"):
        docker.pull_image(f"{OPEN}/{name}", platform="linux/riscv64")


def test_pin_and_platform_of_a_list(docker: DockerAdvanced, shelf: Shelf) -> None:
    """A second platform of one pinned list is an error, as Docker stores a digest once."""
    image = f"{OPEN}/team/both@{shelf.digests['team/both:1']}"
    docker.pull_image(image, platform="linux/arm64")
    assert docker.client.images.get(image).attrs["Architecture"] == "arm64"
    with pytest.raises(ImagePlatformError, match="for another platform.*pin the digest"):
        docker.pull_image(image, platform="linux/amd64")
