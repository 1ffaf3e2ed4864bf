"""Cached images: created on a node once, and kept there for later runs."""

from __future__ import annotations

from typing import Any

from lisa_container.config import LOCAL_REPOSITORY
from lisa_container.config.reference import DOCKER_HUB, ImageReference
from lisa_container.engine.client import Engine
from lisa_container.engine.labels import LEASE_LABEL
from lisa_container.errors import EngineError

# Podman puts one of these in front of a name that names no registry.
_DEFAULT_REGISTRIES = (DOCKER_HUB, "localhost")


def caches(engine: Engine, repository: str = LOCAL_REPOSITORY) -> list[str]:
    """List the names of cached images that no container uses, as the engine spells them.

    Args:
        engine: its node is searched.
        repository: prefix of the names; all caches by default.

    Raises:
        EngineError: the engine does not answer.
    """
    with engine.errors():
        in_use = {container["ImageID"] for container in engine.api.containers(all=True)}
        images = [image for image in engine.api.images() if image["Id"] not in in_use]
    return sorted(name for image in images for name in _cache_names(image, repository))


def remove_cache(engine: Engine, name: str) -> bool:
    """Remove a cached image, unless another image is built on it.

    Args:
        engine: the engine that has the image.
        name: from `caches`.

    Returns:
        Whether the image was removed.

    Raises:
        EngineError: the engine refused or does not answer.
    """
    try:
        with engine.errors(image=name):
            engine.api.remove_image(name)
    except EngineError as error:
        if "child" in str(error):
            return False
        raise
    return True


def _cache_names(image: dict[str, Any], repository: str) -> list[str]:
    if (image.get("Labels") or {}).get(LEASE_LABEL):
        return []  # it is removed with its run
    return [name for name in image["RepoTags"] or [] if _is_below(repository, name)]


def _is_below(repository: str, name: str) -> bool:
    reference = ImageReference.try_parse(name)
    if reference is None:
        return False
    full = reference.full
    return full.registry in _DEFAULT_REGISTRIES and full.repository.startswith(repository)
