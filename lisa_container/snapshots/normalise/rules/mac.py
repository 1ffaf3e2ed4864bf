"""MAC addresses, numbered. The zero and the broadcast address are kept.

>>> normalise("link/ether 02:42:ac:11:00:02 brd ff:ff:ff:ff:ff:ff")
'link/ether <mac 1> brd ff:ff:ff:ff:ff:ff'
"""

from __future__ import annotations

from lisa_container.snapshots.normalise.placeholders import TOKEN
from lisa_container.snapshots.normalise.rule import CaseInsensitiveRule

MAC = CaseInsensitiveRule(
    "mac",
    rf"(?<![\w:{TOKEN}])[0-9A-Fa-f]{{2}}(?::[0-9A-Fa-f]{{2}}){{5}}(?!:?[\w{TOKEN}])",
    numbered=True,
    keep=["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"],
)
