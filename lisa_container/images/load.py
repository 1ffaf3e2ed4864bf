"""Loading an image's archive into the engine of a node, over the node's connection."""

from __future__ import annotations

import re
from collections.abc import Iterator

import docker.errors

from lisa_container.engine.client import Engine
from lisa_container.errors import EngineError, ImageLoadError, NoSpaceError

_ID = re.compile(r"sha256:[0-9a-f]{64}")

# Seconds without a word of the engine: it unpacks a layer, on a slow disk say.
_TIMEOUT = 600.0


def load_image(engine: Engine, chunks: Iterator[bytes], what: str) -> str:
    """Load an archive of one image without a name.

    Args:
        engine: of the node.
        chunks: the archive.
        what: the image, for messages.

    Returns:
        The engine's id of the image.

    Raises:
        NoSpaceError: the node's disk is full.
        ImageLoadError: the engine refused it.
        EngineError: it does not answer.
        ImageArchiveError: the archive could not be made to its end.
    """
    said = ""
    with engine.errors(image=what):
        try:
            for line in engine.api.load_progress(chunks, _TIMEOUT):
                if "error" in line:
                    raise _failure(engine, what, str(line["error"]))
                said += str(line.get("stream", ""))
        except docker.errors.APIError as error:
            raise _failure(engine, what, str(error.explanation or error)) from error
    found = _ID.search(said)
    if found is None:
        raise _failure(engine, what, said.strip() or "it did not say which image that is")
    return found.group()


def _failure(engine: Engine, what: str, said: str) -> EngineError:
    if "no space left" in said:
        return NoSpaceError(engine.name, said)
    return ImageLoadError(what, engine.name, said)
