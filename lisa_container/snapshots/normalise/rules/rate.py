"""Data rates.

>>> normalise("Fetched 53.1 kB in 0s (198 kB/s); 180 bytes | 180.00 KiB/s, done.")
'Fetched 53.1 kB in <duration> (<rate>); 180 bytes | <rate>, done.'
"""

from __future__ import annotations

from lisa_container.snapshots.normalise.placeholders import AFTER, TOKEN
from lisa_container.snapshots.normalise.rule import PatternRule

RATE = PatternRule(
    "rate",
    rf"(?<![\w.,{TOKEN}])\d{{1,12}}(?:[.,]\d{{1,9}})?[ ]?"
    rf"(?:[kKMGT]?i?(?:B|b|[bB]ytes?|[bB]its?|bps)|it|ops|req)(?:/s(?:ec)?|(?<=bps)){AFTER}",
)
