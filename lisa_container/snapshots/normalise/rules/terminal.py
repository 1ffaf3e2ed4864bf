r"""Carriage returns, backspaces and cursor movements, replaced by what a terminal finally shows.

>>> normalise("10%\r50%\r100%, done\n")
'100%, done\n'
>>> normalise("pulling a\npulling b\n\x1b[2A\x1b[Kpulled a\n\x1b[Kpulled b\n")
'pulled a\npulled b\n'
"""

from __future__ import annotations

from lisa_container.snapshots.normalise.rule import FunctionRule
from lisa_container.snapshots.normalise.screen import render


class _TerminalRule(FunctionRule):
    is_first = True


TERMINAL = _TerminalRule("terminal", render)
