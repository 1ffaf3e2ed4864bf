r"""Blanks at line ends, which are removed. Tools print them to erase earlier output.

>>> normalise("remote: Total 6        \ndone\n")
'remote: Total 6\ndone\n'
"""

from __future__ import annotations

from lisa_container.snapshots.normalise.rule import FunctionRule


def _strip_lines(text: str) -> str:
    return "\n".join(line.rstrip(" \t") for line in text.split("\n"))


class _BlanksRule(FunctionRule):
    is_first = True


BLANKS = _BlanksRule("blanks", _strip_lines)
