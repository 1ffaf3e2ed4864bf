"""What an engine says while it pulls or pushes an image, and what to do when it stops saying it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Callable, TypeVar

import docker.errors
import requests
import urllib3.exceptions
from retry.api import retry_call

from lisa_container.engine.client import Engine
from lisa_container.errors import (
    EngineError,
    EngineTimeoutError,
    RegistryUnreachableError,
    SshLostError,
)
from lisa_container.images.progress import Progress

_TIMEOUTS = (requests.Timeout, urllib3.exceptions.ReadTimeoutError)
# How often it is tried, and how long (seconds) after the first failure; twice that after the next.
# The engine keeps the layers that it has.
_TRIES, _PAUSE = 3, 1.0
# Seconds without a word of the engine that one try gets at the least.
_LEAST = 30.0

# What an engine says of a layer that moves, and of one that has come to its end.
_MOVING = ("Downloading", "Pushing")
_MOVED = ("Extracting", "Verifying Checksum", "Download complete", "Pull complete", "Pushed")

T = TypeVar("T")


def transfer(
    engine: Engine,
    what: str,
    reference: str,
    lines: Callable[[float], Iterator[dict[str, Any]]],
    failure: Callable[[str], EngineError],
    timeout: float,
) -> None:
    """Have an image pulled or pushed, again where that may help, and tell how far it is.

    Args:
        engine: of the node.
        what: is done, such as "pulling image 'debian:12'".
        reference: the image's name.
        lines: begins it; gives what the engine says, within so many seconds each.
        failure: makes an error of what the engine said.
        timeout: seconds without any progress, in all tries together.

    Raises:
        RegistryUnreachableError: the registry did not answer soundly, several times.
        EngineTimeoutError: there was no progress, several times.
        SshLostError: the node cannot be reached.
        EngineError: what `failure` made.
    """
    patience = max(timeout / _TRIES, min(timeout, _LEAST))

    def once() -> None:
        sizes = _Sizes()
        about = f"{what} on node '{engine.name}'"
        with engine.errors(image=reference), Progress(about, engine.node.log) as progress:
            try:
                for line in lines(patience):
                    if "error" in line:
                        raise failure(str(line["error"]))
                    sizes.take(line)
                    progress.update(sizes.done, sizes.total)
            except docker.errors.APIError as error:
                raise failure(str(error.explanation or error)) from error
            except _TIMEOUTS as error:
                raise EngineTimeoutError(engine.name, f"get on with {what}", patience) from error

    retry_call(
        once,
        exceptions=(RegistryUnreachableError, SshLostError, EngineTimeoutError),
        tries=_TRIES,
        delay=_PAUSE,
        backoff=2,
        logger=engine.node.log,
    )


class _Sizes:
    """How many bytes of an image's layers have moved, by the words of the engine."""

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int]] = {}

    @property
    def done(self) -> int:
        return sum(done for done, _ in self._layers.values())

    @property
    def total(self) -> int:
        return sum(total for _, total in self._layers.values())

    def take(self, line: dict[str, Any]) -> None:
        """Take what the engine says (Docker Engine API, "CreateImageInfo")."""
        layer, status = str(line.get("id", "")), str(line.get("status", ""))
        detail = line.get("progressDetail") or {}
        if status.startswith(_MOVING) and "current" in detail:
            done = int(detail["current"])
            self._layers[layer] = done, max(int(detail.get("total") or 0), done)
        elif status.startswith(_MOVED) and layer in self._layers:
            total = self._layers[layer][1]
            self._layers[layer] = total, total
