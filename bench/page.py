"""Table for the terminal, and text of docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.result import HEADINGS, Row

NOTES = Path(__file__).parent / "notes"

_INTRO = """\
# Performance

`make bench` measures every number on this page and writes the page. Do not edit it.

The benchmark creates a node on this machine and reaches it over SSH on a virtual Ethernet pair. The
node has a real Docker Engine. lisa_container ("ours") and its alternatives use this engine.

- lisa_container and the alternatives of a row take turns (A B C A B C …), so that other work on the
  machine affects all of them equally. Quick calls are repeated in each turn. The numbers are
  medians.
- The ratio is our median divided by the alternative's median. Below 1, lisa_container is faster or
  smaller.
- Every outcome is checked: the output, the exit code, or the checksum of copied bytes. A failure
  ends the row.
- Each row has a new node. The node's users have an empty shell profile. A slow profile would delay
  every command that starts a shell.
- Runner and node share the machine's cores, so the engine also waits for the runner's work. On a
  separate node, the engine would not wait.

Measured on:
"""


def table(rows: Sequence[Row]) -> str:
    """Return all lines of the rows as a Markdown table that is also readable in a terminal."""
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
    """Return the text of the page.

    Args:
        rows: rows in order.
        about: properties of the machine.
        documents: docstring of each row by its name: a title, an empty line, and the description.
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
