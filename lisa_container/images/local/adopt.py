"""Making an image with the engine's own command, and naming it."""

from __future__ import annotations

import shlex

from lisa_container.config import ImageReference
from lisa_container.engine.client import Engine
from lisa_container.errors import ImageNotFoundError


def engine_command(engine: Engine) -> str:
    """Return the engine's own command for a script on its node, with the socket that is used.

    The user's start files may set DOCKER_HOST or a context, which name another engine.
    """
    if engine.kind == "podman":
        return "env -u CONTAINER_HOST podman"
    return f"docker -H {shlex.quote(f'unix://{engine.dialer.engine_path}')}"


def adopt(engine: Engine, image: str, reference: ImageReference) -> None:
    """Give a new image its name, or remove it if another run has made the same image first.

    Args:
        engine: engine of the node.
        image: id of the new image.
        reference: the name.

    Raises:
        EngineError: the engine refused.
    """
    name = str(reference)
    with engine.errors(image=name):
        try:
            with engine.errors(image=name):
                engine.api.inspect_image(name)
        except ImageNotFoundError:
            engine.api.tag(image, reference.name, reference.tag)
        else:
            engine.api.remove_image(image)
