"""Blanks at the ends of lines, which nobody sees, and with which tools wipe out what stood there.

>>> normalise("remote: Total 6        \\ndone\\n")
'remote: Total 6\\ndone\\n'
"""

from __future__ import annotations

from lisa_container.capture.normalise.rule import FunctionRule


def _stripped(text: str) -> str:
    return "\n".join(line.rstrip(" \t") for line in text.split("\n"))


class _BlanksRule(FunctionRule):
    is_first = True


BLANKS = _BlanksRule("blanks", _stripped)
