"""Words of a Dockerfile's instructions: flags, quotes and variables.

They are read as by https://github.com/moby/buildkit, frontend/dockerfile/shell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""Characters that Go counts as space (unicode.IsSpace); Python's `strip` takes others, too."""

PLATFORM_ARGS = {
    f"{of}{what}" for of in ("TARGET", "BUILD") for what in ("PLATFORM", "OS", "ARCH", "VARIANT")
}
"""Variables to which BuildKit and Podman give values of their own."""

_FLAG = re.compile(r"--((?:\"[^\"]*\"|'[^']*'|\\.|[^\s\"'\\])*)\s*")
_QUOTED = re.compile(r"\"([^\"]*)\"|'([^']*)'|\\(.)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class UnclearError(Exception):
    """Only the engine can tell what a word means, or it will refuse the word."""


def split_flags(rest: str) -> tuple[list[str], str]:
    """Return the flags in front of an instruction's arguments, and the arguments.

    Args:
        rest: text behind the instruction's name.
    """
    flags: list[str] = []
    while True:
        match = _FLAG.match(rest)
        if match is None:
            return flags, rest.strip(SPACES)
        word = _QUOTED.sub(lambda each: each[1] or each[2] or each[3] or "", match[1])
        flags.append(f"--{word}")
        rest = rest[match.end() :]


def split_words(rest: str, escape: str) -> list[str]:
    """Split arguments at blanks outside of quotes, which stay.

    Args:
        rest: text behind the instruction's name.
        escape: the Dockerfile's escape character.

    Raises:
        UnclearError: a quote has no end.
    """
    one = re.escape(escape)
    word = rf"(?:{one}.|\"(?:{one}.|[^\"{one}])*\"|'[^']*'|[^\s\"'{one}])+{one}?"
    if not re.fullmatch(rf"\s*(?:{word}\s*)*", rest):
        raise UnclearError
    return re.findall(word, rest)


def expand(word: str, known: Mapping[str, str], escape: str) -> str:
    """Return a word without quotes and with the values of its variables.

    Args:
        word: the word.
        known: values of the variables; others are empty.
        escape: the Dockerfile's escape character.

    Raises:
        UnclearError: the word has a form of variables that not all engines know, has a variable of
            `PLATFORM_ARGS` without a known value, or is malformed.
    """
    return _Reader(word, known, escape).read("")


class _Reader:
    def __init__(self, text: str, known: Mapping[str, str], escape: str) -> None:
        self._text = text
        self._known = known
        self._escape = escape
        self._at = 0

    def read(self, end: str) -> str:
        """Read up to a character that ends the word; empty: up to the end of the text."""
        result = ""
        while True:
            char = self._next()
            if char == end:
                return result
            if not char:
                raise UnclearError
            if char == "'":
                result += self._single()
            elif char == '"':
                result += self._double()
            elif char == "$":
                result += self._variable()
            else:
                result += self._next() if char == self._escape else char

    def _next(self) -> str:
        char = self._text[self._at : self._at + 1]
        self._at += 1
        return char

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _single(self) -> str:
        end = self._text.find("'", self._at)
        if end < 0:
            raise UnclearError
        begin, self._at = self._at, end + 1
        return self._text[begin:end]

    def _double(self) -> str:
        result = ""
        while True:
            char = self._next()
            if char == '"':
                return result
            if not char:
                raise UnclearError
            if char == "$":
                result += self._variable()
                continue
            if char == self._escape and self._peek() in ('"', "$", self._escape):
                char = self._next()
            result += char

    def _variable(self) -> str:
        in_braces = self._peek() == "{"
        self._at += in_braces
        match = _NAME.match(self._text, self._at)
        if match is None:
            if in_braces or re.match(r"[0-9@*#?$!-]", self._peek()):
                raise UnclearError
            return "$"
        self._at = match.end()
        if match[0] in PLATFORM_ARGS and match[0] not in self._known:
            raise UnclearError
        value = self._known.get(match[0], "")
        if not in_braces:
            return value
        how = self._next()
        if how == "}":
            return value
        kind = self._next() if how == ":" else ""
        if kind not in ("+", "-"):
            raise UnclearError
        word = self.read("}")
        if kind == "-":
            return value or word
        return word if value else ""
