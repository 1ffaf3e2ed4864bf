"""Alerts: limits of figures, checked with each sample."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields

from lisa_container.config.checks import illegal, unknown
from lisa_container.monitor.usage import ContainerUsage

# Figures that grow for ever: their growth in a second is compared.
_COUNTERS = (
    *("cpu", "user", "system", "periods", "throttled_periods", "throttled", "read", "written"),
    *("reads", "writes", "cpu_pressure", "memory_pressure", "io_pressure", "received"),
    "sent",
)
_FIGURES = [
    x.name for x in fields(ContainerUsage) if x.name not in ("id", "name", "time", "is_final")
]


@dataclass(frozen=True)
class Alert:
    """Limit of a figure of containers.

    Figures that grow for ever, such as `cpu` or `received`, count by their growth in a second:
    `Alert("cpu", above=0.9)` means 0.9 processors.

    Attributes:
        figure: Figure of `ContainerUsage`, such as `memory`.
        above: The figure must not be above this; None means no limit.
        below: The figure must not be below this; None means no limit.
        seconds: How long the limit may be exceeded without a break.
        containers: Regular expression for the whole name of the containers; all by default.
        fails: Whether the monitor's block fails; otherwise the log and `violations` tell.

    Raises:
        ConfigError: A value is wrong.
    """

    figure: str
    above: float | None = None
    below: float | None = None
    seconds: float = 0.0
    containers: str = ".*"
    fails: bool = True

    def __post_init__(self) -> None:
        """Check the values."""
        if self.figure not in _FIGURES:
            raise unknown("alert, figure", self.figure, _FIGURES)
        if self.above is None and self.below is None:
            raise illegal("alert, above", None, "a number for above, below or both")
        try:
            re.compile(self.containers)
        except re.error as error:
            raise illegal(
                "alert, containers", self.containers, "a regular expression", str(error)
            ) from error

    def exceeds(self, value: float) -> bool:
        """Return whether a value is outside of the limits."""
        is_above = self.above is not None and value > self.above
        return is_above or (self.below is not None and value < self.below)


@dataclass(frozen=True)
class Violation:
    """Limit that a container has exceeded.

    Attributes:
        alert: The alert.
        container: Name of the container.
        value: First value that was outside of the limits for long enough.
        time: Time of that sample by the node's clock, in seconds since 1970.
    """

    alert: Alert
    container: str
    value: float
    time: float

    def __str__(self) -> str:
        """Return a line for logs and errors."""
        alert = self.alert
        limits = [f"above {alert.above:g}"] if alert.above is not None else []
        limits += [f"below {alert.below:g}"] if alert.below is not None else []
        what = f"{alert.figure} of container '{self.container}' was {self.value:.6g}"
        return f"{what}, {' or '.join(limits)}, for more than {alert.seconds:g} seconds"


@dataclass
class AlertState:
    """State of one alert: since when each container exceeds its limits.

    Attributes:
        alert: The alert.
    """

    alert: Alert
    _since: dict[str, float] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def check(self, last: ContainerUsage | None, usage: ContainerUsage) -> Violation | None:
        """Return a violation that a sample shows; each excess is told once.

        Args:
            last: The container's sample before; None for its first.
            usage: The sample.
        """
        alert = self.alert
        value = self._value(last, usage)
        if value is None or not re.fullmatch(alert.containers, usage.name):
            return None
        if not alert.exceeds(value):
            self._since.pop(usage.id, None)
            self._told.discard(usage.id)
            return None
        # A growth began with the sample before.
        begun = last.time if last and alert.figure in _COUNTERS else usage.time
        since = self._since.setdefault(usage.id, begun)
        if usage.id in self._told or usage.time - since < alert.seconds:
            return None
        self._told.add(usage.id)
        return Violation(alert, usage.name, value, usage.time)

    def _value(self, last: ContainerUsage | None, usage: ContainerUsage) -> float | None:
        value = getattr(usage, self.alert.figure)
        if value is None or self.alert.figure not in _COUNTERS:
            return None if value is None else float(value)
        before = getattr(last, self.alert.figure) if last else None
        if last is None or before is None or usage.time <= last.time:
            return None
        return float(value - before) / (usage.time - last.time)
