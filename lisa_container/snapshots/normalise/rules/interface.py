"""Names that an engine generates for network interfaces, numbered.

>>> normalise("docker0: port 1(vethe4a94ec) and br-3f4a5b6c7d8e")
'docker0: port 1(<interface 1>) and <interface 2>'
"""

from __future__ import annotations

from lisa_container.snapshots.normalise.placeholders import AFTER, BEFORE
from lisa_container.snapshots.normalise.rule import PatternRule

INTERFACE = PatternRule(
    "interface", rf"{BEFORE}(?:veth[0-9a-f]{{7,8}}|br-[0-9a-f]{{12}}){AFTER}", numbered=True
)
