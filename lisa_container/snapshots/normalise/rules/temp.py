"""Temporary paths, numbered: a temporary folder and the name directly below it.

>>> normalise("writing /tmp/tmp.nzvLykppBZ/a.txt; see /tmp/tmp.nzvLykppBZ and /var/tmp/x")
'writing <tmp 1>/a.txt; see <tmp 1> and <tmp 2>'
"""

from __future__ import annotations

from lisa_container.snapshots.normalise.placeholders import TOKEN
from lisa_container.snapshots.normalise.rule import PatternRule

TEMP = PatternRule(
    "temp",
    rf"(?:(?<![\w.~/{TOKEN}-])|(?<=file://))/(?:private/)?(?:var/)?(?:tmp|folders/\w{{2}}/\w{{1,40}}/T)"
    rf"/[\w.+~-]{{0,254}}[\w+~-](?![\w+~{TOKEN}-])",
    placeholder="tmp",
    numbered=True,
)
