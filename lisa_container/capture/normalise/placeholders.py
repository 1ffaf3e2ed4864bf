"""Placeholders, and what they look like to a rule.

A later rule must not find anything in what an earlier one has put there (the 1 of `<id 1>`), nor
take the end of a placeholder for the end of a word: normalising a second time would find more then.
So while rules work, a placeholder is a token: a few characters that no program prints, which
patterns can name (`TOKEN`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# The last private plane of Unicode: one character that opens, sixteen hexadecimal digits.
_OPEN = 0x10FE00
_DIGIT = _OPEN + 1

TOKEN = f"{chr(_OPEN)}-{chr(_DIGIT + 15)}"
"""The characters of tokens, to be put between the brackets of a pattern's class."""

BEFORE = rf"(?<![\w{TOKEN}])"
"""Nothing of a word, and no placeholder, stands right before."""

AFTER = rf"(?![\w{TOKEN}])"
"""The same behind."""

_TOKEN = re.compile(f"{chr(_OPEN)}([{chr(_DIGIT)}-{chr(_DIGIT + 15)}]+)")
_STRAY = re.compile(f"[{TOKEN}]")


class Placeholders:
    """The placeholders of one text.

    Args:
        kinds: the names that they can have. What already stands in the text in their form is taken
            for one, and numbers go on behind those.
    """

    def __init__(self, kinds: Iterable[str]) -> None:
        names = "|".join(re.escape(kind) for kind in sorted(kinds)) or "(?!)"
        self._written = re.compile(rf"<({names})(?: ([1-9][0-9]{{0,8}}))?>")
        self._texts: list[str] = []
        self._tokens: dict[str, str] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        self._last: dict[str, int] = {}

    def plain(self, kind: str) -> str:
        """The token of `<kind>`.

        Args:
            kind: what stood there.
        """
        return self._token(f"<{kind}>")

    def numbered(self, kind: str, identity: str) -> str:
        """The token of `<kind 1>`, `<kind 2>`, …: the same identity has the same number.

        Args:
            kind: what stood there.
            identity: which of its kind.
        """
        key = (kind, identity)
        if key not in self._numbers:
            self._last[kind] = self._numbers[key] = self._last.get(kind, 0) + 1
        return self._token(f"<{kind} {self._numbers[key]}>")

    def encode(self, text: str) -> str:
        """The text with tokens for the placeholders that are written in it.

        Args:
            text: as a user sees it.
        """
        return self._written.sub(self._encode, _STRAY.sub("\N{REPLACEMENT CHARACTER}", text))

    def decode(self, text: str) -> str:
        """The text with placeholders as a user sees them.

        Args:
            text: with tokens.
        """
        return _TOKEN.sub(lambda match: self._texts[_number(match[1])], text)

    def _encode(self, match: re.Match[str]) -> str:
        if match[2]:
            self._last[match[1]] = max(self._last.get(match[1], 0), int(match[2]))
        return self._token(match[0])

    def _token(self, text: str) -> str:
        if text not in self._tokens:
            digits = f"{len(self._texts):x}"
            self._texts.append(text)
            self._tokens[text] = chr(_OPEN) + "".join(chr(_DIGIT + int(x, 16)) for x in digits)
        return self._tokens[text]


def _number(digits: str) -> int:
    return int("".join(f"{ord(x) - _DIGIT:x}" for x in digits), 16)
