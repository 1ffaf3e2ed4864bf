"""Looking for an image on a node."""

from __future__ import annotations

from typing import Any

from lisa_container.engine.client import Engine
from lisa_container.errors import ImageNotFoundError
from lisa_container.images.names import digest_of, without_tag
from lisa_container.images.platform import fits, platform_of


def find_image(engine: Engine, reference: str, platform: str = "") -> str:
    """What the engine knows an image by, or "" where the node does not have it.

    One that is pinned to a digest is known by that, and found also where it came by another name,
    from a mirror say; then by its id. One of the same name and another digest is not the same.

    Args:
        engine: of the node.
        reference: the name.
        platform: that it must be for; any by default.

    Raises:
        EngineError: the engine does not answer.
    """
    name = without_tag(reference)  # of a pinned one; podman knows no name with both
    known, image = name, inspect_image(engine, name)
    digest = digest_of(reference)
    if image is None and digest:
        known = _by_digest(engine, digest)
        image = inspect_image(engine, known) if known else None
    if image is None or (platform and not fits(_platform(image), platform)):
        return ""
    return known


def image_platform(engine: Engine, image: str) -> str:
    """The platform of an image on the node: `os/architecture[/variant]`; empty where it has gone.

    Args:
        engine: of the node.
        image: its name or id.

    Raises:
        EngineError: the engine does not answer.
    """
    found = inspect_image(engine, image)
    return _platform(found) if found is not None else ""


def _by_digest(engine: Engine, digest: str) -> str:
    with engine.errors():
        for image in engine.api.images():
            if any(name.endswith(f"@{digest}") for name in image.get("RepoDigests") or []):
                return str(image["Id"])
    return ""


def inspect_image(engine: Engine, image: str) -> dict[str, Any] | None:
    """All the engine knows of an image; None where the node does not have it.

    Args:
        engine: of the node.
        image: its name or id.

    Raises:
        EngineError: the engine does not answer.
    """
    try:
        with engine.errors(image=image):
            return dict(engine.api.inspect_image(image))
    except ImageNotFoundError:
        return None


def _platform(image: dict[str, Any]) -> str:
    return platform_of({key.lower(): value for key, value in image.items()})
