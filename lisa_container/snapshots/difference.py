"""Difference of two texts, short enough for a message."""

from __future__ import annotations

import difflib
from itertools import takewhile

# Limits, because a comparison of more lines takes long and a longer message is not read.
_LINES = 2000
_CHARACTERS = 20_000
_CONTEXT = 3


def diff_texts(expected: str, actual: str, source: str = "snapshot") -> str:
    """Return a unified diff, truncated if it is long.

    Args:
        expected: the expected text.
        actual: the output.
        source: name of the source of `expected`, for the diff's header.
    """
    old, new = expected.split("\n"), actual.split("\n")
    note = ""
    if max(len(old), len(new)) > _LINES:
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new)))
        start = max(0, same - _CONTEXT)
        old, new = old[start : start + _LINES], new[start : start + _LINES]
        note = f"(from line {start + 1} on, at most {_LINES} lines)\n"
    lines = difflib.unified_diff(old, new, source, "output", n=_CONTEXT, lineterm="")
    return note + truncate("\n".join(lines))


def truncate(text: str) -> str:
    """Return the text, or its beginning and a note if it is long."""
    if len(text) <= _CHARACTERS:
        return text
    return f"{text[:_CHARACTERS]}\n(cut: {len(text) - _CHARACTERS} characters more)"
