"""Ids and digests in hexadecimal, and fingerprints of SSH keys; the same one has the same number.

>>> normalise("[master 4eec199] first\\ncommit 4eec199692528ed6d169c4871865c0c6107f2d01\\n")
'[master <id 1>] first\\ncommit <id 1>\\n'

An id is a word of 7 to 128 such digits with both letters and figures. Of others (`1234567` may well
be a number) only those are taken that have 32 digits or more, that another id in the text begins
with, or that stand where git puts one. A shortened id has the number of the whole one.
"""

from __future__ import annotations

import bisect
import re

from lisa_container.capture.normalise.placeholders import AFTER, BEFORE, Placeholders
from lisa_container.capture.normalise.rule import Rule

_ID = re.compile(
    rf"(?P<fingerprint>{BEFORE}SHA256:[A-Za-z0-9+/]{{43}}(?![\w+/]))"
    rf"|(?P<git>{BEFORE}(?:index|commit|commit:|at)[ ]|\[[\w/.-]{{1,100}}(?:[ ]\(root-commit\))?[ ]"
    rf"|(?<=[0-9a-f]{{7}})\.\.\.?)?(?P<hex>{BEFORE}[0-9A-Fa-f]{{7,128}}{AFTER})"
)

# What engines and git show of a long one; so many digits say which it is.
_SHORT = 12
_SURE = 32
_POWER = re.compile(r"\d+[eE]\d+")
# Words that have the form of an id.
_WORDS = frozenset({"ed25519"})


class _IdRule(Rule):
    def apply(self, text: str, placeholders: Placeholders) -> str:
        matches = list(_ID.finditer(text))
        long = sorted({x[:_SHORT].lower() for m in matches if len(x := m["hex"] or "") >= _SHORT})

        def replace(match: re.Match[str]) -> str:
            value: str | None = match["hex"]
            if value is None:
                return placeholders.numbered(self.placeholder, match[0])
            key = value[:_SHORT].lower()
            place = bisect.bisect_left(long, key)
            whole = long[place] if place < len(long) and long[place].startswith(key) else ""
            is_short_form = len(value) < _SHORT and bool(whole)
            if not (is_short_form or match["git"] or _is_id(value)):
                return match[0]
            return (match["git"] or "") + placeholders.numbered(self.placeholder, whole or key)

        return _ID.sub(replace, text)


def _is_id(value: str) -> bool:
    if len(value) >= _SURE:
        return True
    if value.isdecimal() or value.isalpha() or _POWER.fullmatch(value):
        return False
    return value.lower() not in _WORDS and value in (value.lower(), value.upper())


ID = _IdRule("id")
