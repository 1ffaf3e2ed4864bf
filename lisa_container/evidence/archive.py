"""Files of a container from the engine's archive; the container need not run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator

from lisa_container.archives.tar import Fault, StreamSource, TarReader
from lisa_container.container.paths import archive_chunks
from lisa_container.engine.client import Engine

# Maximum number of bytes that are read of one archive.
MOST_BYTES = 4 * 1024**3


@contextlib.contextmanager
def archive_of(
    engine: Engine, container: str, path: str, deadline: float, most: int = MOST_BYTES
) -> Iterator[TarReader]:
    """Open the archive of a file or folder.

    Args:
        engine: engine of the node.
        container: name or id.
        path: absolute path.
        deadline: `time.monotonic()` after which reading fails.
        most: maximum number of bytes that are read.

    Raises:
        EngineError: the engine refuses.
        Fault: the archive is invalid or exceeds a limit.
    """
    chunks = archive_chunks(engine, container, path)
    with contextlib.closing(chunks):
        yield TarReader(StreamSource(_bounded(chunks, deadline, most)))


def _bounded(chunks: Iterable[bytes], deadline: float, most: int) -> Iterator[bytes]:
    for chunk in chunks:
        most -= len(chunk)
        if most < 0 or time.monotonic() > deadline:
            raise Fault("it is too large to be read")
        yield chunk
