"""ANSI sequences (colours and all others) and control characters go.

>>> normalise("\\x1b[1;31merror\\x1b[0m: no such file")
'error: no such file'
"""

from __future__ import annotations

import re

from lisa_container.capture.normalise.rule import FunctionRule
from lisa_container.capture.normalise.screen import SEQUENCE

# All but tabulator, line feed and carriage return: those are the rule `terminal`'s.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def _plain(text: str) -> str:
    return _CONTROL.sub("", SEQUENCE.sub("", text))


class _AnsiRule(FunctionRule):
    is_first = True


ANSI = _AnsiRule("ansi", _plain)
