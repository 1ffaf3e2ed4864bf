"""Times of day, and durations in the same form.

>>> normalise("at 01:10:46.5, up 14:03, eta 0:00:00")
'at <time>, up <time>, eta <time>'
"""

from __future__ import annotations

from lisa_container.snapshots.normalise.calendar import ZONE
from lisa_container.snapshots.normalise.placeholders import TOKEN
from lisa_container.snapshots.normalise.rule import PatternRule

TIME = PatternRule(
    "time",
    rf"(?<![\w:.{TOKEN}])(?:\d{{1,4}}:[0-5]\d:(?:[0-5]\d|60)(?:[.,]\d{{1,9}})?"
    rf"|(?:[01]\d|2[0-3]|0):[0-5]\d){ZONE}?(?![:.+~-]?[\w{TOKEN}])",
)
