"""Many containers at once: started and removed in parallel, all or none."""

from __future__ import annotations

import atexit
import contextlib
import threading
from collections import deque
from collections.abc import Iterable
from typing import Callable

from lisa.node import Node

from lisa_container.engine.waiting import SLICE, bounded
from lisa_container.executor import ContainerExecutor, live_executors

# How many containers of one node are worked on at a time. Docker gets no faster with more: measured
# on two cores, 101 ms for each container from 8 on.
_WORKERS = 8

# How long (seconds) those that are removed after a failure are waited for.
_REMOVE_TIMEOUT = 120.0

Job = Callable[[ContainerExecutor], object]


def start_all(executors: Iterable[ContainerExecutor]) -> list[ContainerExecutor]:
    """Start containers, on one node or on many, several at a time.

        boxes = start_all(ContainerExecutor(node, config) for _ in range(100))

    Args:
        executors: those that run already are left alone.

    Returns:
        The executors, in the order given.

    Raises:
        ContainerError: the first that a start raised; the message tells of others that failed too.
            Those that this call started are removed again, and so they are where it is interrupted.
    """
    wanted = list(executors)
    new = [executor for executor in wanted if not executor.is_started]
    crew = _Crew(new, lambda each: each.start(), goes_on=False)
    try:
        crew.work()
        crew.raise_first()
    except BaseException:
        with contextlib.suppress(TimeoutError):  # it goes on by itself, and logs what fails
            bounded(lambda: _undo(crew, new), _REMOVE_TIMEOUT)
        raise
    return wanted


def stop_all(executors: Iterable[ContainerExecutor]) -> None:
    """Remove containers, on one node or on many, several at a time.

    As `ContainerExecutor.stop` does: those to be kept stay, and what fails is logged.

    Args:
        executors: started or not.
    """
    for_each(executors, lambda each: each.stop())


def for_each(executors: Iterable[ContainerExecutor], job: Job) -> None:
    """Do something with each container, several of a node at a time.

    Args:
        executors: of any nodes.
        job: what to do.

    Raises:
        Exception: the first that the job raised, after all were done.
    """
    crew = _Crew(executors, job, goes_on=True)
    crew.work()
    crew.raise_first()


def _undo(crew: _Crew, executors: list[ContainerExecutor]) -> None:
    crew.join()  # none may be started behind our back
    stop_all(executors)


@atexit.register
def _remove_left_overs() -> None:
    """What LISA did not clean up goes with the process."""
    left = live_executors()
    try:
        for_each(left, lambda each: each.stop_at_exit())
    except RuntimeError:  # from Python 3.12 on, no thread can be started any more
        for executor in left:
            executor.stop_at_exit()


class _Crew:
    """Threads that do a job for each executor, at most `_WORKERS` for a node.

    Args:
        executors: whose turn comes in order.
        job: what to do for each.
        goes_on: whether the rest is done also when one failed.
    """

    def __init__(self, executors: Iterable[ContainerExecutor], job: Job, goes_on: bool) -> None:
        self._job = job
        self._goes_on = goes_on
        self._is_over = False
        self._failures: list[BaseException] = []
        queues: dict[Node, deque[ContainerExecutor]] = {}
        for executor in executors:
            queues.setdefault(executor.host, deque()).append(executor)
        self._threads = [
            threading.Thread(target=self._serve, args=(queue,), name="crew", daemon=True)
            for queue in queues.values()
            for _ in range(min(_WORKERS, len(queue)))
        ]

    def work(self) -> None:
        """Do all of it; what interrupts this has each worker end with what it is at."""
        try:
            for thread in self._threads:
                thread.start()
            self.join()
        except BaseException:
            self._is_over = True
            raise

    def join(self) -> None:
        """Wait for those who work."""
        for thread in self._threads:
            while thread.is_alive():
                thread.join(SLICE)

    def raise_first(self) -> None:
        """Raise the first failure, if there was one; its message tells of the others."""
        if not self._failures:
            return
        first, *others = self._failures
        reasons = dict.fromkeys(str(error) for error in others)
        reasons.pop(str(first), None)
        if reasons:
            more = "\n".join(f"- {reason}" for reason in reasons)
            first.args = (
                f"{first}\nOthers that were started at the same time failed too:\n{more}",
            )
        raise first

    def _serve(self, queue: deque[ContainerExecutor]) -> None:
        while not self._is_over:
            try:
                executor = queue.popleft()
            except IndexError:
                return
            try:
                self._job(executor)
            except BaseException as error:  # raised in the waiting thread
                self._failures.append(error)
                self._is_over = self._is_over or not self._goes_on
