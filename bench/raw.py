"""The engine's API with nothing of ours: the SDK on the engine's own socket, in processes of its
own.

Several processes, not threads: the alternative shall be as quick as the engine lets it, and not
be held up by Python's interpreter lock or by what runs in this process.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from types import TracebackType
from typing import Any, Callable

import docker

_REQUEST_TIMEOUT = 600


def open_api(socket: str) -> docker.APIClient:
    """The SDK on a socket.

    Args:
        socket: as `unix://<path>`.
    """
    return docker.APIClient(base_url=socket, version="auto", timeout=_REQUEST_TIMEOUT)


def create_and_start(api: docker.APIClient, settings: dict[str, Any]) -> str:
    """A running container; its id.

    Args:
        api: of the engine.
        settings: what to send to `POST /containers/create`.
    """
    container: str = api.create_container_from_config(settings)["Id"]
    api.start(container)
    assert api.inspect_container(container)["State"]["Running"]
    return container


def run(api: docker.APIClient, container: str) -> None:
    """A trivial command in a container, as the SDK's `exec_run` does it."""
    command = api.exec_create(container, ["/bin/true"])["Id"]
    api.exec_start(command)
    assert api.exec_inspect(command)["ExitCode"] == 0


def remove(api: docker.APIClient, container: str) -> None:
    """Remove a container, running or not, with its anonymous volumes."""
    api.remove_container(container, v=True, force=True)


class RawClients:
    """So many processes, each with a connection of its own; a context manager.

    Args:
        socket: of the engine.
        count: how many requests shall be on their way at a time.
    """

    def __init__(self, socket: str, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        # All of them are there before anything is measured: each waits for the others.
        barrier = context.Barrier(count, timeout=_REQUEST_TIMEOUT)
        self._pool = ProcessPoolExecutor(count, context, _open, (socket, barrier))
        for begun in [self._pool.submit(_ping) for _ in range(count)]:
            begun.result()

    def __enter__(self) -> RawClients:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown()

    def each(
        self, function: Callable[[docker.APIClient, Any], Any], items: Sequence[Any]
    ) -> list[Any]:
        """Call a function of this module with a client and each of the items, all at once."""
        return list(self._pool.map(_call, [function] * len(items), items))


_api: docker.APIClient = None


def _open(socket: str, barrier: Barrier) -> None:
    global _api
    _api = open_api(socket)
    barrier.wait()


def _ping() -> None:
    assert _api.ping()


def _call(function: Callable[[docker.APIClient, Any], Any], item: Any) -> Any:
    return function(_api, item)
