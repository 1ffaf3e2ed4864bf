"""Dates without a time.

>>> normalise("built 2026-11-28, released 28 Nov 2026 (Nov 28, 2026); backup-2026-11-28.tar")
'built <date>, released <date> (<date>); backup-<date>.tar'
"""

from __future__ import annotations

from lisa_container.snapshots.normalise.calendar import (
    DAY,
    DAY_NAME,
    DAY_OF_MONTH,
    MONTH,
    MONTH_NAME,
    YEAR,
)
from lisa_container.snapshots.normalise.placeholders import TOKEN
from lisa_container.snapshots.normalise.rule import PatternRule

_FORMS = [
    rf"{YEAR}([-/]){MONTH}\1{DAY}",
    rf"{DAY}\.{MONTH}\.{YEAR}",
    rf"{MONTH}/{DAY}/{YEAR}",
    rf"(?:{DAY_NAME},?[ ])?{DAY_OF_MONTH}[ /-]{MONTH_NAME}[ /-]{YEAR}",
    rf"(?:{DAY_NAME}[ ])?{MONTH_NAME}[ ]{{1,2}}{DAY_OF_MONTH},?[ ]{{1,2}}{YEAR}",
]

DATE = PatternRule("date", rf"(?<![0-9A-Za-z.{TOKEN}])(?:{'|'.join(_FORMS)})(?![0-9A-Za-z{TOKEN}])")
