"""Tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows below their titles, each column as wide as its widest word.

    Args:
        columns: the titles.
        rows: each with as many values.
    """
    table = [[title.upper() for title in columns]]
    table += [[str(value) for value in row] for row in rows]
    widths = [max(len(line[index]) for line in table) for index in range(len(columns))]
    for line in table:
        words = (word.ljust(width) for word, width in zip(line, widths))
        print("  ".join(words).rstrip())
