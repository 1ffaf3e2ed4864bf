"""Trends of figures over many samples, with their uncertainty; leaks found by them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lisa_container.errors import GrowthError
from lisa_container.monitor.monitor import Monitor

# A trend is one when it differs from none by so many standard errors: by chance, in one of 40 cases
# on this side (normal distribution).
_SURE = 2.0
_LEAST_POINTS = 3


@dataclass(frozen=True)
class Trend:
    """Straight line through points, by least squares.

    Attributes:
        slope: Growth for each unit of the first axis.
        error: Standard error of the slope.
        points: Number of points.
    """

    slope: float
    error: float
    points: int

    def exceeds(self, limit: float = 0.0) -> bool:
        """Return whether the growth is above a limit, beyond the scatter of the points."""
        return self.slope - _SURE * self.error > limit

    def __str__(self) -> str:
        """Return the growth with its uncertainty."""
        return f"{self.slope:.4g} ± {_SURE * self.error:.2g} ({self.points} points)"


def find_trend(points: Sequence[tuple[float, float]]) -> Trend:
    """Return the trend of at least three points.

    Args:
        points: Pairs of a time or number and a figure.

    Raises:
        ValueError: There are too few points, or they have all one time.
    """
    count = len(points)
    mean_x = sum(x for x, _ in points) / max(1, count)
    mean_y = sum(y for _, y in points) / max(1, count)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if count < _LEAST_POINTS or not spread:
        raise ValueError(f"a trend needs {_LEAST_POINTS} points at different times, not {count}")
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    rest = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
    return Trend(slope, math.sqrt(rest / (count - 2) / spread), count)


def check_leak(
    monitor: Monitor,
    container: str,
    operation: Callable[[], object],
    count: int = 1000,
    limit: float = 10240.0,
    field: str = "memory",
    samples: int = 20,
) -> Trend:
    """Repeat an operation, and check that a figure of a container does not grow with it.

    The first tenth of the operations does not count: a program gets its caches and pools then.

    Args:
        monitor: Monitor of the container's node.
        container: Name of the container.
        operation: The operation.
        count: Number of operations.
        limit: Growth for each operation that is allowed, in the unit of the figure; by default
            10 KiB, which are 10 MiB for a thousand.
        field: Figure of `ContainerUsage`, such as `memory` or `pids`.
        samples: Number of samples, after equal numbers of operations.

    Returns:
        The growth for each operation.

    Raises:
        GrowthError: The figure grows by more than the limit, beyond the scatter of the samples.
        ValueError: The node's kernel does not tell the figure.
    """
    warm_up = count // 10
    every = max(1, (count - warm_up) // samples)
    points = []
    for number in range(1, count + 1):
        operation()
        if number >= warm_up and (number - warm_up) % every == 0:
            value = getattr(monitor.snapshot()[container], field)
            if value is None:
                raise ValueError(f"the kernel of the node does not tell '{field}' of a container")
            points.append((float(number), float(value)))
    trend = find_trend(points)
    if trend.exceeds(limit):
        raise GrowthError(
            f"'{field}' of container '{container}' grows by {trend} for each of {count} "
            f"operations; allowed: {limit:g}"
        )
    return trend
