r"""Hexadecimal ids and digests, and fingerprints of SSH keys, numbered.

>>> normalise("[master 4eec199] first\ncommit 4eec199692528ed6d169c4871865c0c6107f2d01\n")
'[master <id 1>] first\ncommit <id 1>\n'

An id is a word of 7 to 128 hexadecimal digits with both letters and decimal digits. A word without
both (`1234567` may be a number) is an id only if it has at least 32 digits, if it is the start of
another id in the text, or if it is where git prints an id. A shortened id and the full id get the
same number.
"""

from __future__ import annotations

import bisect
import re

from lisa_container.snapshots.normalise.placeholders import AFTER, BEFORE, TOKEN, Placeholders
from lisa_container.snapshots.normalise.rule import Rule

_ID = re.compile(
    rf"{BEFORE}(?:(?P<fingerprint>SHA256:[A-Za-z0-9+/]{{43}}(?![\w+/]))"
    rf"|(?P<hex>[0-9A-Fa-f]{{7,128}}){AFTER})"
)
# Text in front of an id that git prints. What it holds may be an id, too: `[1f1f338 158fd1d`.
_OF_GIT = re.compile(
    rf"(?:{BEFORE}(?:index|commit|commit:|at)[ ]|\[[\w/.-]{{1,100}}(?:[ ]\(root-commit\))?[ ]"
    rf"|[0-9a-f{TOKEN}]{{7}}\.\.\.?)\Z"
)
_LONGEST_FRONT = 120

# Number of digits that engines and git show of a long id, and that identify it.
_SHORT = 12
_SURE = 32
_POWER = re.compile(r"\d+[eE]\d+")
# Words that look like an id.
_WORDS = frozenset({"ed25519"})


class _IdRule(Rule):
    def apply(self, text: str, placeholders: Placeholders) -> str:
        """Return the text with placeholders for all ids."""
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
            if not (is_short_form or _is_id(value) or _is_of_git(match)):
                return match[0]
            return placeholders.numbered(self.placeholder, whole or key)

        return _ID.sub(replace, text)


def _is_of_git(match: re.Match[str]) -> bool:
    start = match.start()
    return bool(_OF_GIT.search(match.string, max(0, start - _LONGEST_FRONT), start))


def _is_id(value: str) -> bool:
    if len(value) >= _SURE:
        return True
    if value.isdecimal() or value.isalpha() or _POWER.fullmatch(value):
        return False
    return value.lower() not in _WORDS and value in (value.lower(), value.upper())


ID = _IdRule("id")
