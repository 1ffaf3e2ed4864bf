"""The difference of two texts, short enough for a message."""

from __future__ import annotations

import difflib
from itertools import takewhile

# To compare more takes long, and nobody reads more.
_LINES = 2000
_CHARACTERS = 20_000
_CONTEXT = 3


def difference(expected: str, actual: str, source: str = "snapshot") -> str:
    """A unified diff, cut where it gets long.

    Args:
        expected: as the snapshot has it.
        actual: as it came out.
        source: what says what is expected.
    """
    old, new = expected.split("\n"), actual.split("\n")
    note = ""
    if max(len(old), len(new)) > _LINES:
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new)))
        start = max(0, same - _CONTEXT)
        old, new = old[start : start + _LINES], new[start : start + _LINES]
        note = f"(from line {start + 1} on, {_LINES} lines at the most)\n"
    lines = difflib.unified_diff(old, new, source, "output", n=_CONTEXT, lineterm="")
    return note + cut("\n".join(lines))


def cut(text: str) -> str:
    """The beginning of a text that is long.

    Args:
        text: of any length.
    """
    if len(text) <= _CHARACTERS:
        return text
    return f"{text[:_CHARACTERS]}\n(cut: {len(text) - _CHARACTERS} characters more)"
