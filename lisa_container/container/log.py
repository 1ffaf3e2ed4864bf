"""Log of a container: the output of its first process, which may be endless."""

from __future__ import annotations

import time
from collections.abc import Iterator

from lisa_container.container.output import MOST_KEPT, Output, TooMuchOutputError
from lisa_container.engine.client import Engine
from lisa_container.errors import EngineError, LogLimitError

# Seconds for reading a whole log.
_TIMEOUT = 600.0


def log_pieces(
    engine: Engine, container: str, seconds: float, tail: int | None = None
) -> Iterator[bytes]:
    """Yield a container's log, a piece at a time.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.
        seconds: Time limit.
        tail: Number of lines at the end; None means all.

    Raises:
        EngineError: The engine refused, or the time was up.
    """
    deadline = time.monotonic() + seconds
    with engine.errors(container):
        for piece in engine.api.log_pieces(container, tail):
            yield piece
            if time.monotonic() > deadline:
                raise EngineError(
                    f"the end of the log of container '{container}' is missing: {seconds:g} "
                    "seconds were not enough to read it"
                )


def read_log(engine: Engine, container: str, tail: int | None) -> str:
    """Return a container's log, stdout and stderr interleaved.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.
        tail: Number of lines at the end; None means all.

    Raises:
        LogLimitError: The log is larger than a result may be.
        EngineError: The engine refused, or the time was up.
    """
    log = Output()
    try:
        for piece in log_pieces(engine, container, _TIMEOUT, tail):
            log.add(piece)
    except TooMuchOutputError as error:
        raise LogLimitError(container, MOST_KEPT) from error
    return log.kept.decode("utf-8", errors="replace")
