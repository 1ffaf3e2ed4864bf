r"""ANSI sequences and control characters, which are removed.

>>> normalise("\x1b[1;31merror\x1b[0m: no such file")
'error: no such file'
"""

from __future__ import annotations

import re

from lisa_container.snapshots.normalise.rule import FunctionRule
from lisa_container.snapshots.normalise.screen import SEQUENCE

# All except tab, line feed and carriage return, which the rule `terminal` handles.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def _remove_sequences(text: str) -> str:
    return _CONTROL.sub("", SEQUENCE.sub("", text))


class _AnsiRule(FunctionRule):
    is_first = True


ANSI = _AnsiRule("ansi", _remove_sequences)
