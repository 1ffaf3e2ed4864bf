"""Schedules of random faults, and figures of their reports."""

from __future__ import annotations

from typing import Any

import pytest
from lisa.node import Node

from lisa_container.chaos import ChaosMonkey, ChaosReport, FailureInjector, Kill, Pause, Select
from lisa_container.errors import ConfigError


class Nowhere(FailureInjector):
    """Injector that is never used."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []


def monkey(**arguments: Any) -> ChaosMonkey:
    known = {"faults": [Kill(), Pause(), Pause(duration=9)], "targets": Select(label="x")}
    return ChaosMonkey(Nowhere(), **{**known, "seconds": 600, "seed": 1, **arguments})


def test_same_seed_same_schedule() -> None:
    one, same, other = monkey(), monkey(), monkey(seed=2)
    assert one.schedule == same.schedule != other.schedule
    assert monkey(seed=None).seed != monkey(seed=None).seed
    times = [planned.at for planned in one.schedule]
    steps = [late - early for early, late in zip([0.0, *times], times)]
    assert all(1.99 < step < 8.01 for step in steps) and times[-1] < 600
    assert {type(planned.fault) for planned in one.schedule} == {Kill, Pause}
    durations = {planned.fault.duration for planned in one.schedule}
    assert 9 in durations and all(1 <= (x or 0) <= 5 or x == 9 for x in durations)
    assert str(one.schedule[0]).startswith(f"{times[0]:8.1f} s  ")


@pytest.mark.parametrize(
    ("samples", "uptime", "outages"),
    [
        ([(0, True), (10, True)], 1.0, []),
        ([(0, True), (2, False), (3, False), (4, True), (10, True)], 0.8, [2]),
        ([(0, False), (1, True), (2, False), (4, True), (5, True)], 0.4, [1, 2]),
        ([(0, True), (6, False), (10, False)], 0.6, [4]),
        ([(0, True)], 0.0, []),
    ],
)
def test_figures(samples: list[tuple[float, bool]], uptime: float, outages: list[float]) -> None:
    report = ChaosReport(1, (), tuple(samples))
    assert report.uptime == pytest.approx(uptime) and report.outages == outages
    assert report.recovery == max(outages, default=0)
    assert str(report).startswith(f"seed 1: 0 of 0 faults, uptime {uptime:.1%}, {len(outages)} out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"faults": []}, "faults: given []"),
        ({"seconds": 0}, "seconds: given 0"),
        ({"pause": (5, 1)}, "pause: given (5, 1)"),
        ({"durations": (0, 1)}, "durations: given (0, 1)"),
    ],
)
def test_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        monkey(**arguments)
    assert str(caught.value).startswith(message)
