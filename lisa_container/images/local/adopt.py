"""The name of an image that was just made."""

from __future__ import annotations

from lisa_container.engine.client import Engine
from lisa_container.errors import ImageNotFoundError


def adopt(engine: Engine, image: str, reference: str) -> None:
    """Give an image its name, unless another run was faster: then it goes, and nobody's image loses
    its name.

    Args:
        engine: of the node.
        image: its id.
        reference: the name.

    Raises:
        EngineError: the engine refused.
    """
    repository, _, tag = reference.rpartition(":")
    with engine.errors(image=reference):
        try:
            with engine.errors(image=reference):
                engine.api.inspect_image(reference)
        except ImageNotFoundError:
            engine.api.tag(image, repository, tag)
        else:
            engine.api.remove_image(image)
