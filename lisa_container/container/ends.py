"""Ends of containers, which LISA's clean-up after a case waits for."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Callable, TypeVar

from lisa.node import Node

from lisa_container.engine.waiting import bounded, wait_for
from lisa_container.forks import Belongings

T = TypeVar("T")


@dataclass
class _End:
    """End of a container that goes on in a thread."""

    node: Node
    done: threading.Event = field(default_factory=threading.Event)


_ends: Belongings[_End] = Belongings()


def end_for_sure(node: Node, end: Callable[[], T], seconds: float | None = None) -> T:
    """Call a function that ends containers in a thread of its own; return its result.

    An exception that ends a case (its time limit, Ctrl-C) may come again, and ends only the wait.
    LISA then closes the node's connection, which would cut off a removal; see `wait_for_ends`.

    Args:
        node: Node of the containers.
        end: Function to call. Its exceptions are raised here.
        seconds: Time limit; None: no limit.

    Raises:
        TimeoutError: The time limit was reached.
    """

    def work() -> T:
        each = _End(node)
        _ends.add(each)
        try:
            return end()
        finally:
            _ends.discard(each)
            each.done.set()

    return bounded(work, seconds)


def wait_for_ends(node: Node, seconds: float = 60.0) -> None:
    """Wait for the ends of containers on a node whose connection is about to be closed.

    Args:
        node: The node.
        seconds: Time limit, in seconds.
    """
    deadline = time.monotonic() + seconds
    for each in _ends:
        if each.node is node:
            wait_for(each.done, max(0.0, deadline - time.monotonic()))
