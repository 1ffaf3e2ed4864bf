"""Many containers at once: started and removed in parallel, all or none."""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import Iterable, Sequence
from typing import Callable, TypeVar

from lisa.node import Node

from lisa_container.container.container import Container
from lisa_container.container.live import live
from lisa_container.engine.waiting import bounded
from lisa_container.engine.workers import Workers

# Containers of one node that are started or removed at the same time. Docker gets no faster with
# more: 101 ms for each container from 8 on, measured on two cores.
_WORKERS = 8

# Time limit of the removal after a failure, in seconds.
_REMOVE_TIMEOUT = 120.0

C = TypeVar("C", bound=Container)


def start_all(executors: Iterable[C]) -> list[C]:
    """Start containers, on one node or on many, several at a time.

        boxes = start_all(ContainerExecutor(node, config) for _ in range(100))

    Args:
        executors: Containers to start; those that are started already are left alone.

    Returns:
        The executors, in the order given.

    Raises:
        ContainerError: The first error of a start; its message lists the errors of others. The
            containers that this call started are removed, also if the call is interrupted.
    """
    wanted = list(executors)
    new = [executor for executor in wanted if not executor.is_started]
    workers = _workers_for(new, lambda each: each.start(), stops_at_failure=True)
    try:
        workers.run()
        workers.raise_failure()
    except BaseException:
        with contextlib.suppress(TimeoutError):  # the removal goes on and logs what fails
            bounded(lambda: _undo(workers, new), _REMOVE_TIMEOUT)
        raise
    return wanted


def stop_all(executors: Iterable[Container]) -> None:
    """Remove containers, on one node or on many, several at a time.

    As with `ContainerExecutor.stop`, containers to be kept stay, and a failure is logged.

    Args:
        executors: Containers, started or not.
    """
    for_each(executors, lambda each: each.stop())


def for_each(executors: Iterable[C], job: Callable[[C], object]) -> None:
    """Call a function with each container, several of a node at a time.

    Args:
        executors: Containers, on one node or on many.
        job: Function to call.

    Raises:
        Exception: The first exception of the function, after all calls have ended.
    """
    workers = _workers_for(executors, job)
    workers.run()
    workers.raise_failure()


def _undo(workers: Workers[C, object], executors: Sequence[C]) -> None:
    workers.join()  # no thread may start another container afterwards
    stop_all(executors)


@atexit.register
def _remove_left_overs() -> None:
    """Remove the containers that LISA did not remove, at the end of the process."""
    left = list(live)
    try:
        for_each(left, lambda each: each.stop_at_exit())
    except RuntimeError:  # from Python 3.12 on, no thread can be started at exit
        for executor in left:
            executor.stop_at_exit()


def _workers_for(
    executors: Iterable[C], job: Callable[[C], object], *, stops_at_failure: bool = False
) -> Workers[C, object]:
    """Return workers for containers: at most `_WORKERS` threads for each node."""
    by_node: dict[Node, list[C]] = {}
    for executor in executors:
        by_node.setdefault(executor.host, []).append(executor)
    workers = Workers(job, "containers", stops_at_failure=stops_at_failure)
    for of_node in by_node.values():
        workers.add(of_node, _WORKERS)
    return workers
