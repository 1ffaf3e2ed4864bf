"""Engine API without lisa_container: the SDK on the engine's own socket, in separate processes.

Processes instead of threads, so that Python's interpreter lock and the work of this process do not
slow the alternative down.
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
    """Return an SDK client for a socket.

    Args:
        socket: URL of the socket, `unix://<path>`.
    """
    return docker.APIClient(base_url=socket, version="auto", timeout=_REQUEST_TIMEOUT)


def create_and_start(api: docker.APIClient, settings: dict[str, Any]) -> str:
    """Create and start a container, and return its id.

    Args:
        api: client of the engine.
        settings: body of `POST /containers/create`.
    """
    container: str = api.create_container_from_config(settings)["Id"]
    api.start(container)
    assert api.inspect_container(container)["State"]["Running"]
    return container


def run(api: docker.APIClient, container: str) -> None:
    """Run a trivial command in a container like the SDK's `exec_run`."""
    command = api.exec_create(container, ["/bin/true"])["Id"]
    api.exec_start(command)
    assert api.exec_inspect(command)["ExitCode"] == 0


def remove(api: docker.APIClient, container: str) -> None:
    """Remove a container, running or not, with its anonymous volumes."""
    api.remove_container(container, v=True, force=True)


class RawClients:
    """Context manager of processes that each have their own connection to the engine.

    Args:
        socket: URL of the engine's socket.
        count: number of processes, and so of concurrent requests.
    """

    def __init__(self, socket: str, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        # The barrier makes sure that all processes exist before the measurement.
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
        """Call a function of this module with a client and each of the items, concurrently."""
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
