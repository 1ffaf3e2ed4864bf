"""Finding the layers of an image that a node lacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lisa_container.config import ImageReference
from lisa_container.engine.client import Engine
from lisa_container.images.find import inspect_image


def missing_layers(engine: Engine, diff_ids: Sequence[str]) -> list[int]:
    """Return the positions of the layers that the node's engine lacks, the lowest first.

    Docker identifies a layer together with those below it, so it has the lowest layers that the
    image shares with an image on the node. Podman finds a layer in any image. The origin of an
    image (a registry, an archive, a build on the node) does not matter: unlike the digest that a
    registry gives a layer, its diff ID is the same everywhere.

    Args:
        engine: engine of the node.
        diff_ids: diff IDs of the image's layers, the lowest first.

    Raises:
        EngineError: the engine refused or does not answer.
    """
    there: set[int] = set()
    for layers in _layers_of_images(engine):
        if engine.kind == "podman":
            there |= {position for position, each in enumerate(diff_ids) if each in layers}
        else:
            there |= set(range(_common(layers, diff_ids)))
        if len(there) == len(diff_ids):
            break
    return [position for position in range(len(diff_ids)) if position not in there]


def _layers_of_images(engine: Engine) -> Iterator[list[str]]:
    """Yield the diff IDs of each image of the node."""
    with engine.errors():
        images = engine.api.images()
    for image in images:
        details = inspect_image(engine, ImageReference.parse(image["Id"]))
        if details is not None:  # or else it was removed meanwhile
            yield (details.get("RootFS") or {}).get("Layers") or []


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Count the lowest layers that two images share."""
    count = 0
    for ours, theirs in zip(one, other):
        if ours != theirs:
            break
        count += 1
    return count
