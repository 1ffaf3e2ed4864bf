r"""Seconds since boot at the start of a line of the kernel log.

>>> normalise("[18096.013378] docker0: port 1 entered\n[    0.000000] Linux version 6.1\n")
'[<uptime>] docker0: port 1 entered\n[<uptime>] Linux version 6.1\n'
"""

from __future__ import annotations

import re

from lisa_container.snapshots.normalise.rule import PatternRule

UPTIME = PatternRule(
    "uptime", r"^(?:<\d{1,3}>)?\[(?P<value>[ ]{0,9}\d{1,9}\.\d{6})\]", flags=re.MULTILINE
)
