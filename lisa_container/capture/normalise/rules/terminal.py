"""Carriage returns, backspaces and movements of the cursor: what a terminal shows at the end.

>>> normalise("10%\\r50%\\r100%, done\\n")
'100%, done\\n'
>>> normalise("pulling a\\npulling b\\n\\x1b[2A\\x1b[Kpulled a\\n\\x1b[Kpulled b\\n")
'pulled a\\npulled b\\n'
"""

from __future__ import annotations

from lisa_container.capture.normalise.rule import FunctionRule
from lisa_container.capture.normalise.screen import shown


class _TerminalRule(FunctionRule):
    is_first = True


TERMINAL = _TerminalRule("terminal", shown)
