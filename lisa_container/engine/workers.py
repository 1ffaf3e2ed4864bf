"""Threads that do one job for many items, while the caller waits and can be interrupted."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterable
from typing import Callable, Generic, TypeVar

from lisa_container.engine.waiting import SLICE

T = TypeVar("T")
R = TypeVar("R")


class Workers(Generic[T, R]):
    """Threads that do one job for many items.

    Args:
        job: Called with each item, in one of the threads.
        name: Name of the threads.
        stops_at_failure: Begin no further item once the job has failed for one.
    """

    def __init__(self, job: Callable[[T], R], name: str, *, stops_at_failure: bool = False) -> None:
        """Begin without items; `add` gives some, `run` starts the threads."""
        self.results: dict[int, R] = {}
        """Result for each item, by the item's number in the order of `add`."""
        self.failures: dict[int, BaseException] = {}
        """Exception for each item that failed, by the item's number, in the order of time."""
        self.stopping = threading.Event()
        """Set when no further item is begun; a long job may look at it."""
        self._job = job
        self._name = name
        self._stops_at_failure = stops_at_failure
        self._numbers = itertools.count()
        self._threads: list[threading.Thread] = []

    def add(self, items: Iterable[T], threads: int) -> None:
        """Add items with threads of their own.

        Args:
            items: Items, begun in this order.
            threads: Largest number of threads that work on these items at the same time.
        """
        queue = deque((next(self._numbers), item) for item in items)
        self._threads += [
            threading.Thread(target=self._serve, args=(queue,), name=self._name, daemon=True)
            for _ in range(min(threads, len(queue)))
        ]

    def run(self) -> None:
        """Do the job for all items and wait for the end.

        An exception in the waiting thread (Ctrl-C, LISA's case timeout) lets each thread finish
        its present item; `join` waits for that.
        """
        try:
            for thread in self._threads:
                thread.start()
            self.join()
        except BaseException:
            self.stopping.set()
            raise

    def raise_failure(self) -> None:
        """Raise the first failure, if there is one; its message lists the others."""
        if not self.failures:
            return
        first, *others = self.failures.values()
        reasons = dict.fromkeys(str(error) for error in others)
        reasons.pop(str(first), None)
        if reasons:
            more = "\n".join(f"- {reason}" for reason in reasons)
            first.args = (f"{first}\nOthers that began at the same time failed too:\n{more}",)
        raise first

    def join(self) -> None:
        """Wait until no thread works any more."""
        for thread in self._threads:
            while thread.is_alive():
                thread.join(SLICE)

    def _serve(self, queue: deque[tuple[int, T]]) -> None:
        while not self.stopping.is_set():
            try:
                number, item = queue.popleft()
            except IndexError:
                return
            try:
                self.results[number] = self._job(item)
            except BaseException as error:  # for the waiting thread
                self.failures[number] = error
                if self._stops_at_failure:
                    self.stopping.set()
