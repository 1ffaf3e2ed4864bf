"""Loading an image's archive into the engine of a node, over the node's connection."""

from __future__ import annotations

import re
from collections.abc import Iterator

import docker.errors

from lisa_container.engine.client import Engine
from lisa_container.errors import EngineError, ImageLoadError, NoSpaceError

_ID = re.compile(r"sha256:[0-9a-f]{64}")

# Seconds without any message of the engine: it may unpack a large layer onto a slow disk.
_TIMEOUT = 600.0


def load_image(engine: Engine, chunks: Iterator[bytes], what: str) -> str:
    """Load an archive of one image that has no name in it.

    Args:
        engine: engine of the node.
        chunks: the archive.
        what: the image, for messages.

    Returns:
        The engine's id of the image.

    Raises:
        NoSpaceError: the node's disk is full.
        ImageLoadError: the engine refused the archive.
        EngineError: the engine does not answer.
        ImageArchiveError: the archive could not be made to its end.
    """
    output = ""
    with engine.errors(image=what):
        try:
            for line in engine.api.load_progress(chunks, _TIMEOUT):
                if "error" in line:
                    raise _failure(engine, what, str(line["error"]))
                output += str(line.get("stream", ""))
        except docker.errors.APIError as error:
            raise _failure(engine, what, str(error.explanation or error)) from error
    match = _ID.search(output)
    if match is None:
        raise _failure(engine, what, output.strip() or "the engine did not name the loaded image")
    return match.group()


def _failure(engine: Engine, what: str, message: str) -> EngineError:
    if "no space left" in message:
        return NoSpaceError(engine.name, message)
    return ImageLoadError(what, engine.name, message)
