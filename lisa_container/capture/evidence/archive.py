"""Files of a container as the engine's archive gives them, also of one that has died."""

from __future__ import annotations

import contextlib
import tarfile
from collections.abc import Iterator
from typing import IO

from lisa_container.engine.client import Engine

_CHUNK = 256 * 1024


@contextlib.contextmanager
def archive_of(engine: Engine, container: str, path: str) -> Iterator[tarfile.TarFile]:
    """The archive of a file or folder, to be read from its begin to its end.

    Args:
        engine: of the node.
        container: name or id.
        path: absolute.

    Raises:
        EngineError: the engine refused.
        tarfile.TarError: what it sent is no archive.
    """
    api = engine.api
    with engine.errors(container):
        answer = api._get(
            api._url("/containers/{0}/archive", container),
            params={"path": path.encode("utf-8", errors="surrogateescape")},
            headers={"Accept-Encoding": "identity"},
            stream=True,
        )
        with contextlib.closing(answer):
            api._raise_for_status(answer)
            with tarfile.open(fileobj=answer.raw, mode="r|", bufsize=_CHUNK) as archive:
                yield archive


def pieces_of(file: IO[bytes]) -> Iterator[bytes]:
    """The content of a member, a chunk at a time."""
    return iter(lambda: file.read(_CHUNK), b"")
