"""Which layers of an image a node lacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lisa_container.engine.client import Engine
from lisa_container.errors import ImageNotFoundError


def missing_layers(engine: Engine, diff_ids: Sequence[str]) -> list[int]:
    """The positions of the layers that the node's engine does not have, the lowest first.

    Docker keeps a layer as what it is on top of those below it, and so has those that an image of
    the node begins with as well; Podman finds a layer in whatever image it is. Where an image came
    from (a registry, an archive, a build on the node) does not matter: unlike the digest that a
    registry gives a layer, its diff ID is the same everywhere.

    Args:
        engine: of the node.
        diff_ids: of the image's layers, the lowest first.

    Raises:
        EngineError: the engine refused or does not answer.
    """
    there: set[int] = set()
    for layers in _images(engine):
        if engine.kind == "podman":
            there |= {position for position, each in enumerate(diff_ids) if each in layers}
        else:
            there |= set(range(_common(layers, diff_ids)))
        if len(there) == len(diff_ids):
            break
    return [position for position in range(len(diff_ids)) if position not in there]


def _images(engine: Engine) -> Iterator[list[str]]:
    """The layers of each image of a node."""
    with engine.errors():
        found = engine.api.images()
    for each in found:
        try:
            with engine.errors(image=each["Id"]):
                inspected = engine.api.inspect_image(each["Id"])
        except ImageNotFoundError:  # gone meanwhile
            continue
        yield (inspected.get("RootFS") or {}).get("Layers") or []


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many layers two images begin with alike."""
    count = 0
    for ours, theirs in zip(one, other):
        if ours != theirs:
            break
        count += 1
    return count
