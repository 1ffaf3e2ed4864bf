"""Process ids after `pid` or in `name[…]:`, numbered. 0 and 1 are kept.

>>> normalise("sshd[1234]: started; pid 1234, pid=77; PID: 1")
'sshd[<pid 1>]: started; pid <pid 1>, pid=<pid 2>; PID: 1'
"""

from __future__ import annotations

import re

from lisa_container.snapshots.normalise.placeholders import AFTER, BEFORE
from lisa_container.snapshots.normalise.rule import PatternRule

PID = PatternRule(
    "pid",
    rf"(?:{BEFORE}p?pid(?:[ ]is)?[ :=]{{1,2}}|(?<=[\w)])\[(?=\d{{1,10}}\]:))"
    rf"(?P<value>\d{{1,10}}){AFTER}",
    numbered=True,
    keep=["0", "1"],
    flags=re.IGNORECASE,
)
