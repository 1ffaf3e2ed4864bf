"""Finding an image on a node."""

from __future__ import annotations

from typing import Any

from lisa_container.config import ImageReference
from lisa_container.engine.client import Engine
from lisa_container.errors import ImageNotFoundError
from lisa_container.images.platform import fits, platform_of


def find_image(
    engine: Engine, reference: ImageReference, platform: str = ""
) -> ImageReference | None:
    """Return the name or id by which the engine knows an image, or None if the node lacks it.

    The beginning of an id, such as the 12 digits that engines show, is taken where no image has
    that name. A name with a digest is found by the digest, also where the image came under another
    name (from a mirror, for example); the result is its id then. An image of the same name with
    another digest is not taken.

    Args:
        engine: engine of the node.
        reference: name of the image.
        platform: platform that the image must be for; any by default.

    Raises:
        EngineError: the engine does not answer.
    """
    known: ImageReference | None = reference.for_engine
    image = inspect_image(engine, reference.for_engine)
    if image is None and reference.may_be_id:
        known = _find_by_id(engine, reference.repository)
        image = inspect_image(engine, known) if known else None
    if image is None and reference.digest:
        known = _find_by_digest(engine, reference.digest)
        image = inspect_image(engine, known) if known else None
    if image is None or (platform and not fits(_platform(image), platform)):
        return None
    return known


def image_platform(engine: Engine, reference: ImageReference) -> str:
    """Return the platform of an image on the node, or "" if the node lacks the image.

    Raises:
        EngineError: the engine does not answer.
    """
    image = inspect_image(engine, reference)
    return _platform(image) if image is not None else ""


def inspect_image(engine: Engine, reference: ImageReference) -> dict[str, Any] | None:
    """Return all that the engine knows of an image, or None if the node lacks it.

    Raises:
        EngineError: the engine does not answer.
    """
    name = str(reference)
    try:
        with engine.errors(image=name):
            return dict(engine.api.inspect_image(name))
    except ImageNotFoundError:
        return None


def _find_by_id(engine: Engine, digits: str) -> ImageReference | None:
    try:
        with engine.errors(image=digits):
            found = str(engine.api.inspect_image(digits)["Id"])
    except ImageNotFoundError:
        return None
    is_it = found.removeprefix("sha256:").startswith(digits)
    return ImageReference.parse(found) if is_it else None


def _find_by_digest(engine: Engine, digest: str) -> ImageReference | None:
    with engine.errors():
        for image in engine.api.images():
            if any(name.endswith(f"@{digest}") for name in image.get("RepoDigests") or []):
                return ImageReference.parse(str(image["Id"]))
    return None


def _platform(image: dict[str, Any]) -> str:
    return platform_of({key.lower(): value for key, value in image.items()})
