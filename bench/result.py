"""What a row found: lines of numbers, and whether they are what was promised."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum


class Of(Enum):
    """What a target is about.

    RATIO: ours divided by the alternative's.
    DIFFERENCE: ours less the alternative's.
    VALUE: ours alone.
    """

    RATIO = "ratio"
    DIFFERENCE = "difference"
    VALUE = "value"


@dataclass(frozen=True)
class Target:
    """An upper limit: all that is measured here is better when it is less.

    Attributes:
        limit: in the line's unit; a ratio has none.
        of: what it limits.
    """

    limit: float
    of: Of = Of.RATIO


@dataclass(frozen=True)
class Line:
    """A line of the table.

    Attributes:
        what: was measured; ours.
        ours: the median.
        other: the alternative, if there is one.
        theirs: its median.
        unit: of both.
        target: what was promised; None where the line only informs.
        samples: how many of ours the median is of.
    """

    what: str
    ours: float
    other: str = ""
    theirs: float | None = None
    unit: str = "s"
    target: Target | None = None
    samples: int = 1

    @property
    def ratio(self) -> float | None:
        """Ours divided by the alternative's; None where nothing is there to compare with."""
        return self.ours / self.theirs if self.theirs else None

    @property
    def holds(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        if self.target.of is Of.VALUE:
            return self.ours <= self.target.limit
        if self.theirs is None:
            raise ValueError(
                f"'{self.what}' has a target of {self.target.of.value} and no alternative"
            )
        if self.target.of is Of.DIFFERENCE:
            return self.ours - self.theirs <= self.target.limit
        return self.ours <= self.target.limit * self.theirs

    def cells(self) -> list[str]:
        """As text, in the order of `HEADINGS`."""
        holds = {None: "", True: "yes", False: "**missed**"}[self.holds]
        return [
            self.what,
            f"{number(self.ours)} {self.unit}",
            self.other,
            "" if self.theirs is None else f"{number(self.theirs)} {self.unit}",
            "" if self.ratio is None else number(self.ratio),
            self._target(),
            holds,
            str(self.samples),
        ]

    def _target(self) -> str:
        if self.target is None:
            return ""
        limit = f"{self.target.limit:g}"
        if self.target.of is Of.RATIO:
            return f"ratio ≤ {limit}"
        more = " more" if self.target.of is Of.DIFFERENCE else ""
        return f"≤ {limit} {self.unit}{more}"


HEADINGS = ["ours", "median", "alternative", "its median", "ratio", "target", "holds", "n"]


@dataclass(frozen=True)
class Row:
    """A row that was run.

    Attributes:
        name: of its module.
        lines: what it found.
        error: why it could not be run, else empty.
    """

    name: str
    lines: tuple[Line, ...] = ()
    error: str = ""


def number(value: float) -> str:
    """Three digits that say something, and no exponent."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 6)}f}"
