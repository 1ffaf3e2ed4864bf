"""Running a pull or push: its progress, its retries, and its errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Callable

import docker.errors
import requests
import urllib3.exceptions
from retry.api import retry_call

from lisa_container.config import ImageReference
from lisa_container.engine.client import Engine
from lisa_container.engine.progress import Progress
from lisa_container.errors import (
    EngineError,
    EngineTimeoutError,
    RegistryUnreachableError,
    SshLostError,
)

_TIMEOUTS = (requests.Timeout, urllib3.exceptions.ReadTimeoutError)
# Tries, and seconds before the second one; the pause then doubles. The engine keeps the layers that
# arrived.
_TRIES, _PAUSE = 3, 1.0
# Least seconds that one try waits for a message of the engine.
_LEAST = 30.0

# Statuses of a layer that is under way, and of one that has arrived.
_MOVING = ("Downloading", "Pushing")
_MOVED = ("Extracting", "Verifying Checksum", "Download complete", "Pull complete", "Pushed")


def transfer(
    engine: Engine,
    what: str,
    reference: ImageReference,
    start: Callable[[float], Iterator[dict[str, Any]]],
    failure: Callable[[str], EngineError],
    timeout: float,
) -> None:
    """Run a pull or push, retry it where that may help, and show its progress.

    Args:
        engine: engine of the node.
        what: the work, for messages, such as "pulling image 'debian:12'".
        reference: name of the image.
        start: starts one try, and gives the engine's messages; called with the seconds that one
            message may take.
        failure: makes an error of the engine's error text.
        timeout: seconds without any progress, in all tries together.

    Raises:
        RegistryUnreachableError: the registry failed to answer in every try.
        EngineTimeoutError: no try made progress.
        SshLostError: the node cannot be reached.
        EngineError: an error that `failure` made.
    """
    patience = max(timeout / _TRIES, min(timeout, _LEAST))

    def once() -> None:
        sizes = _Sizes()
        title = f"{what} on node '{engine.name}'"
        with engine.errors(image=str(reference)), Progress(title, engine.node.log) as progress:
            try:
                for line in start(patience):
                    if "error" in line:
                        raise failure(str(line["error"]))
                    sizes.add(line)
                    progress.update(sizes.done, sizes.total)
            except docker.errors.APIError as error:
                raise failure(str(error.explanation or error)) from error
            except _TIMEOUTS as error:
                raise EngineTimeoutError(engine.name, f"continue {what}", patience) from error

    retry_call(
        once,
        exceptions=(RegistryUnreachableError, SshLostError, EngineTimeoutError),
        tries=_TRIES,
        delay=_PAUSE,
        backoff=2,
        logger=engine.node.log,
    )


class _Sizes:
    """Bytes of an image's layers that were transferred, by the engine's messages."""

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int]] = {}

    @property
    def done(self) -> int:
        """Bytes that have arrived."""
        return sum(done for done, _ in self._layers.values())

    @property
    def total(self) -> int:
        """Bytes of all layers that the engine has named so far."""
        return sum(total for _, total in self._layers.values())

    def add(self, line: dict[str, Any]) -> None:
        """Add a message of the engine (Docker Engine API, "CreateImageInfo")."""
        layer, status = str(line.get("id", "")), str(line.get("status", ""))
        detail = line.get("progressDetail") or {}
        if status.startswith(_MOVING) and "current" in detail:
            done = int(detail["current"])
            self._layers[layer] = done, max(int(detail.get("total") or 0), done)
        elif status.startswith(_MOVED) and layer in self._layers:
            total = self._layers[layer][1]
            self._layers[layer] = total, total
