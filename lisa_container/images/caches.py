"""Images of ours that no run owns: made on a node once, and kept there for the runs to come."""

from __future__ import annotations

from typing import Any

from lisa_container.config import LOCAL_REPOSITORY
from lisa_container.engine.client import Engine
from lisa_container.engine.labels import LEASE_LABEL
from lisa_container.errors import EngineError
from lisa_container.images.names import without_registry


def caches(engine: Engine, repository: str = LOCAL_REPOSITORY) -> list[str]:
    """Their names.

    Args:
        engine: of the node.
        repository: what they begin with; all by default.

    Raises:
        EngineError: the engine does not answer.
    """
    with engine.errors():
        in_use = {found["ImageID"] for found in engine.api.containers(all=True)}
        images = [found for found in engine.api.images() if found["Id"] not in in_use]
    return sorted(name for found in images for name in _names(found, repository))


def remove_cache(engine: Engine, name: str) -> bool:
    """Remove one by its name, unless another image is made of it; whether it has gone.

    Args:
        engine: of the node.
        name: of `caches`.

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


def _names(image: dict[str, Any], repository: str) -> list[str]:
    if (image.get("Labels") or {}).get(LEASE_LABEL):
        return []  # it goes with its run
    found = image["RepoTags"] or []
    return [name for name in found if _own_name(name).startswith(repository)]


def _own_name(name: str) -> str:
    """The name as we give it: podman puts `docker.io/` or `localhost/` in front."""
    return without_registry(name.removeprefix("localhost/"))
