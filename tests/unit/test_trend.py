"""Trends of samples: slope and uncertainty."""

from __future__ import annotations

import random

import pytest

from lisa_container.monitor import find_trend


def test_line() -> None:
    trend = find_trend([(x, 3 * x + 7) for x in range(10)])
    assert (trend.slope, trend.points) == (pytest.approx(3), 10)
    assert trend.error == pytest.approx(0, abs=1e-9)
    assert trend.exceeds(2.9) and not trend.exceeds(3.1)


def test_known_error() -> None:
    """The textbook's example: y of 1, 3, 2 at 1, 2, 3."""
    trend = find_trend([(1, 1), (2, 3), (3, 2)])
    assert trend.slope == pytest.approx(0.5)
    assert trend.error == pytest.approx(0.8660254)
    assert str(trend) == "0.5 ± 1.7 (3 points)"


def test_scatter_is_no_trend() -> None:
    """Of 400 lots of noise, some 2.3 % exceed none by chance, as the normal distribution says."""
    dice = random.Random(1)
    lots = [find_trend([(x, dice.gauss(0, 5)) for x in range(50)]) for _ in range(400)]
    assert 1 <= sum(lot.exceeds() for lot in lots) <= 24
    assert find_trend([(x, dice.gauss(0.5 * x, 5)) for x in range(50)]).exceeds()


@pytest.mark.parametrize("points", [[], [(1, 1), (2, 2)], [(1, 1), (1, 2), (1, 3)]])
def test_too_few(points: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="a trend needs 3 points"):
        find_trend(points)
