"""Results of a row: lines of numbers, and whether they meet their targets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum


class Of(Enum):
    """Quantity that a target limits.

    RATIO: ours divided by the alternative's.
    DIFFERENCE: ours minus the alternative's.
    VALUE: ours alone.
    """

    RATIO = "ratio"
    DIFFERENCE = "difference"
    VALUE = "value"


@dataclass(frozen=True)
class Target:
    """Upper limit of a number. Less is better for everything measured here.

    Attributes:
        limit: the limit in the line's unit; a ratio has no unit.
        of: the limited quantity.
    """

    limit: float
    of: Of = Of.RATIO


@dataclass(frozen=True)
class Line:
    """Line of the table.

    Attributes:
        what: description of our measurement.
        ours: our median.
        other: description of the alternative; empty if there is none.
        theirs: the alternative's median.
        unit: unit of both medians.
        target: target of the line; None if the line has none.
        samples: number of our samples.
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
        """Ours divided by the alternative's; None without an alternative."""
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
                f"'{self.what}' has a target for its {self.target.of.value} but no alternative"
            )
        if self.target.of is Of.DIFFERENCE:
            return self.ours - self.theirs <= self.target.limit
        return self.ours <= self.target.limit * self.theirs

    def cells(self) -> list[str]:
        """Return the line's cells as text, in the order of `HEADINGS`."""
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
    """Result of a row.

    Attributes:
        name: name of the row's module.
        lines: lines of the table.
        error: why the row could not be run; empty if it could.
    """

    name: str
    lines: tuple[Line, ...] = ()
    error: str = ""


def number(value: float) -> str:
    """Format a number with three significant digits and without an exponent."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 6)}f}"
