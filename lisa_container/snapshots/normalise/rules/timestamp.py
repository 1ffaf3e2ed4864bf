"""Date with time of day, in the formats that tools print.

>>> normalise("2026-11-28T01:10:46.123Z; 2026/11/28 01:10:46; 20261128-011046")
'<timestamp>; <timestamp>; <timestamp>'
>>> normalise("Sat Nov 28 01:10:46 UTC 2026, Sat, 28 Nov 2026 01:10:46 +0000")
'<timestamp>, <timestamp>'
>>> normalise("[28/Nov/2026:01:10:46 +0000] Nov 28 01:10:46 host sshd: hello")
'[<timestamp>] <timestamp> host sshd: hello'
"""

from __future__ import annotations

from lisa_container.snapshots.normalise.calendar import (
    CLOCK,
    DAY,
    DAY_NAME,
    DAY_OF_MONTH,
    MONTH,
    MONTH_NAME,
    YEAR,
    ZONE,
)
from lisa_container.snapshots.normalise.placeholders import TOKEN
from lisa_container.snapshots.normalise.rule import PatternRule

_FORMS = [
    rf"{YEAR}([-/.]){MONTH}\1{DAY}[T_ ]{CLOCK}{ZONE}?",
    rf"{YEAR}{MONTH}{DAY}[T_-]?(?:[01]\d|2[0-3])[0-5]\d[0-5]\d(?:\.\d{{1,9}})?Z?",
    rf"(?:{DAY_NAME},?[ ])?{DAY_OF_MONTH}[ /-]{MONTH_NAME}[ /-]{YEAR}[: ]{CLOCK}{ZONE}?",
    rf"(?:{DAY_NAME}[ ])?{MONTH_NAME}[ ]{{1,2}}{DAY_OF_MONTH}[ ]{CLOCK}"
    rf"(?:{ZONE}|[ ][AP]M)?(?:[ ]{YEAR}{ZONE}?)?",
]

TIMESTAMP = PatternRule(
    "timestamp", rf"(?<![0-9A-Za-z{TOKEN}])(?:{'|'.join(_FORMS)})(?!:?[\w{TOKEN}])"
)
