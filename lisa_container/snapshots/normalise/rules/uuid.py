"""UUIDs, numbered. The nil UUID is kept.

>>> normalise("disk 3b1f8a52-9c1d-4f7e-8a6b-0d2c4e6f8a90 is 3B1F8A52-9C1D-4F7E-8A6B-0D2C4E6F8A90")
'disk <uuid 1> is <uuid 1>'
"""

from __future__ import annotations

from lisa_container.snapshots.normalise.placeholders import AFTER, BEFORE
from lisa_container.snapshots.normalise.rule import CaseInsensitiveRule

UUID = CaseInsensitiveRule(
    "uuid",
    rf"{BEFORE}[0-9A-Fa-f]{{8}}(?:-[0-9A-Fa-f]{{4}}){{3}}-[0-9A-Fa-f]{{12}}{AFTER}",
    numbered=True,
    keep=["00000000-0000-0000-0000-000000000000"],
)
