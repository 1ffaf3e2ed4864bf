"""Taking the time of several ways to do a thing, in turns."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from statistics import median
from typing import Callable


class Stopwatch:
    """Durations in seconds, by the name of the phase.

    with watch("start"):
        container.start()
    """

    def __init__(self) -> None:
        self.samples: dict[str, list[float]] = defaultdict(list)

    @contextlib.contextmanager
    def __call__(self, phase: str = "") -> Iterator[None]:
        begin = time.perf_counter()
        yield  # what fails is no sample
        self.samples[phase].append(time.perf_counter() - begin)

    def median(self, phase: str = "") -> float:
        """The median of a phase's durations."""
        return median(self.samples[phase])


Way = Callable[[Stopwatch], None]
"""Does the thing, has its durations taken, and raises where the outcome is wrong."""


def repeated(call: Callable[[], None], times: int = 1) -> Way:
    """A way that makes a call several times in each of its turns.

    Args:
        call: does the thing once, and raises where the outcome is wrong.
        times: more for what is quick, so that all ways are given about the same time.
    """

    def way(watch: Stopwatch) -> None:
        for _ in range(times):
            with watch():
                call()

    return way


def interleave(ways: Mapping[str, Way], rounds: int, warm_up: bool = True) -> dict[str, Stopwatch]:
    """Take turns: A B C A B C …, so that what else the machine does meets all alike.

    Args:
        ways: by name.
        rounds: how many turns each gets.
        warm_up: whether one further round goes first, which does not count.
    """
    if warm_up:
        for way in ways.values():
            way(Stopwatch())
    watches = {name: Stopwatch() for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            way(watches[name])
    return watches
