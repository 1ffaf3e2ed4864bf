"""Measure several ways to do a thing, in turns."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from statistics import median
from typing import Callable


class Stopwatch:
    """Stopwatch that collects durations in seconds by the name of a phase.

    with watch("start"):
        container.start()
    """

    def __init__(self) -> None:
        self.samples: dict[str, list[float]] = defaultdict(list)

    @contextlib.contextmanager
    def __call__(self, phase: str = "") -> Iterator[None]:
        """Measure a `with` block as a sample of a phase."""
        begin = time.perf_counter()
        yield  # a failure adds no sample
        self.samples[phase].append(time.perf_counter() - begin)

    def median(self, phase: str = "") -> float:
        """Return the median of a phase's durations."""
        return median(self.samples[phase])


Way = Callable[[Stopwatch], None]
"""Function that does the thing, measures it, and raises an error if the outcome is wrong."""


def repeated(call: Callable[[], None], times: int = 1) -> Way:
    """Return a way that makes a call several times in each turn.

    Args:
        call: function that does the thing once, and raises an error if the outcome is wrong.
        times: number of calls in a turn; more for quick calls, so that all turns take about as
            long.
    """

    def way(watch: Stopwatch) -> None:
        for _ in range(times):
            with watch():
                call()

    return way


def interleave(ways: Mapping[str, Way], rounds: int, warm_up: bool = True) -> dict[str, Stopwatch]:
    """Run ways in turns (A B C A B C …), so that other work on the machine affects all alike.

    Args:
        ways: ways by name.
        rounds: number of turns of each way.
        warm_up: whether to run one more round first that is not measured.
    """
    if warm_up:
        for way in ways.values():
            way(Stopwatch())
    watches = {name: Stopwatch() for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            way(watches[name])
    return watches
