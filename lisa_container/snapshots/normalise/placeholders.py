"""Placeholders, and the tokens that represent them while rules are applied.

A rule must not match inside a placeholder of an earlier rule (the 1 of `<id 1>`), nor take its end
for the end of a word. Otherwise normalising a second time would find more matches. So while rules
are applied, each placeholder is a token: a few characters that programs do not print. Patterns can
refer to them (`TOKEN`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Characters of Unicode's last private plane: an opening character and sixteen hexadecimal digits.
_OPEN = 0x10FE00
_DIGIT = _OPEN + 1

TOKEN = f"{chr(_OPEN)}-{chr(_DIGIT + 15)}"
"""Characters of tokens, for use in a character class of a pattern."""

BEFORE = rf"(?<![\w{TOKEN}])"
"""Pattern: no word character and no placeholder directly before this position."""

AFTER = rf"(?![\w{TOKEN}])"
"""Pattern: no word character and no placeholder directly after this position."""

_TOKEN = re.compile(f"{chr(_OPEN)}([{chr(_DIGIT)}-{chr(_DIGIT + 15)}]+)")
_STRAY = re.compile(f"[{TOKEN}]")


class Placeholders:
    """Placeholders of one text.

    Args:
        kinds: names of placeholders. Text that already looks like one of them (`<ip 1>`) is treated
            as a placeholder, and new numbers continue after the highest one.
    """

    def __init__(self, kinds: Iterable[str]) -> None:
        """Begin without placeholders."""
        names = "|".join(re.escape(kind) for kind in sorted(kinds)) or "(?!)"
        self._written = re.compile(rf"<({names})(?: ([1-9][0-9]{{0,8}}))?>")
        self._texts: list[str] = []
        self._tokens: dict[str, str] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        self._last: dict[str, int] = {}

    def plain(self, kind: str) -> str:
        """Return the token of the placeholder `<kind>`."""
        return self._token(f"<{kind}>")

    def numbered(self, kind: str, identity: str) -> str:
        """Return the token of a numbered placeholder, such as `<kind 1>`.

        Args:
            kind: name of the placeholder.
            identity: the replaced value. Equal values get the same number.
        """
        key = (kind, identity)
        if key not in self._numbers:
            self._last[kind] = self._numbers[key] = self._last.get(kind, 0) + 1
        return self._token(f"<{kind} {self._numbers[key]}>")

    def encode(self, text: str) -> str:
        """Return the text with tokens in place of written placeholders."""
        return self._written.sub(self._encode, _STRAY.sub("\N{REPLACEMENT CHARACTER}", text))

    def decode(self, text: str) -> str:
        """Return the text with written placeholders in place of tokens."""
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
