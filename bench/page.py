"""The table for the terminal, and docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.result import HEADINGS, Row

NOTES = Path(__file__).parent / "notes"

_INTRO = """\
# Performance

Every number here comes from `make bench`, which makes a node on this machine, reaches it over SSH
on a virtual Ethernet pair, and runs us beside the alternatives on its real Docker Engine. This
page is written by it; do not edit it.

- The ways of a row take turns (A B C A B C …) in one run, so that what else the machine does
  meets all alike; what is quick is done several times in a turn. The numbers are medians.
- The ratio is ours divided by the alternative's: below 1 we are quicker, or smaller.
- The outcome of everything measured is checked: output, exit code, or the sum of the copied
  bytes. A failure is no sample but ends the row.
- Each row has a node of its own, freshly made. The node's users have a clean shell profile; a
  heavy one adds to every command that starts a shell.
- Runner and node share the machine's cores, so the runner's own work counts twice: on a node of
  its own the engine would not wait for it.

Measured on:
"""


def table(rows: Sequence[Row]) -> str:
    """All lines of the rows, as a table in Markdown that a terminal shows well, too."""
    cells = [["row", *HEADINGS]]
    for row in rows:
        cells += [[row.name, *line.cells()] for line in row.lines]
        if row.error:
            cells.append([row.name, row.error.splitlines()[0], *[""] * 5, "**failed**", ""])
    widths = [max(len(line[index]) for line in cells) for index in range(len(cells[0]))]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |"
        for line in cells
    )


def page(rows: Sequence[Row], about: Mapping[str, str], documents: Mapping[str, str]) -> str:
    """The page's text.

    Args:
        rows: in order.
        about: the machine.
        documents: by the row's name, what it measures and how: a title, an empty line, more.
    """
    parts = [_INTRO, "\n".join(f"- {name}: {value}" for name, value in about.items())]
    parts.append(f"\n{table(rows)}\n")
    for row in rows:
        title, _, text = documents[row.name].strip().partition("\n")
        parts.append(f"## {row.name}: {title[0].lower()}{title[1:].rstrip('.')}\n")
        parts.append(f"{text.strip()}\n" if text.strip() else "")
        notes = NOTES / f"{row.name}.md"
        if notes.exists():
            parts.append(notes.read_text(encoding="utf-8"))
    return "\n".join(part for part in parts if part).rstrip() + "\n"
