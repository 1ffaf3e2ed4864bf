"""Memory addresses, numbered. Zero and short numbers are kept.

>>> normalise("<object at 0x7f3a5c0d2e50> like 0x7F3A5C0D2E50, mode 0x1f")
'<object at <address 1>> like <address 1>, mode 0x1f'
"""

from __future__ import annotations

from lisa_container.snapshots.normalise.placeholders import AFTER, BEFORE
from lisa_container.snapshots.normalise.rule import PatternRule


class _AddressRule(PatternRule):
    def identity(self, value: str) -> str | None:
        """Return the address without leading zeros and in lower case, or None for zero."""
        number = int(value, 16)
        return f"{number:x}" if number else None


ADDRESS = _AddressRule("address", rf"{BEFORE}0[xX][0-9A-Fa-f]{{8,16}}{AFTER}", numbered=True)
