"""MAC addresses; the same one has the same number. Those of nobody and of all stay.

>>> normalise("link/ether 02:42:ac:11:00:02 brd ff:ff:ff:ff:ff:ff")
'link/ether <mac 1> brd ff:ff:ff:ff:ff:ff'
"""

from __future__ import annotations

from lisa_container.capture.normalise.placeholders import TOKEN
from lisa_container.capture.normalise.rule import PatternRule


class _MacRule(PatternRule):
    def identity(self, value: str) -> str | None:
        return super().identity(value.lower())


MAC = _MacRule(
    "mac",
    rf"(?<![\w:{TOKEN}])[0-9A-Fa-f]{{2}}(?::[0-9A-Fa-f]{{2}}){{5}}(?!:?[\w{TOKEN}])",
    numbered=True,
    keep=["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"],
)
