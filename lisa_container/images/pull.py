"""Pulling an image onto a node."""

from __future__ import annotations

from lisa_container.engine.client import Engine
from lisa_container.errors import ImageNotFoundError, NoSpaceError


def pull_image(
    engine: Engine,
    reference: str,
    credential: dict[str, str] | None = None,
    timeout: float = 600,
) -> None:
    """Have the engine pull an image.

    Args:
        engine: of the node.
        reference: full name with tag or digest.
        credential: `{"username": …, "password": …}`; it goes to the engine in a header of the
            request, never onto a command line.
        timeout: seconds without any progress; 600 by default, as LISA's Docker.

    Raises:
        ImageNotFoundError: it could not be pulled; the message says why.
        NoSpaceError: the node's disk is full.
    """
    engine.node.log.info(f"pulling image '{reference}' on node '{engine.name}'")
    with engine.errors(image=reference):
        # Without a tag the engine would pull every tag there is.
        progress = engine.api.pull(reference, stream=True, decode=True, auth_config=credential)
        try:
            for line in progress:
                if "error" in line:
                    _fail(engine, reference, str(line["error"]))
        except (ImageNotFoundError, NoSpaceError):
            raise
        except Exception as error:
            if "no space left" in str(error):
                raise NoSpaceError(engine.name, str(error)) from error
            raise ImageNotFoundError(reference, engine.name, str(error)) from error


def _fail(engine: Engine, reference: str, said: str) -> None:
    if "no space left" in said:
        raise NoSpaceError(engine.name, said)
    raise ImageNotFoundError(reference, engine.name, said)
