"""Output of the command: safe for a terminal, whatever text it quotes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from lisa_container.escaping import printable

_LINES = "\n"
# Colours of a terminal for words that a reader looks for.
_STYLES = {
    **dict.fromkeys(("passed", "alive", "ended"), "green"),
    **dict.fromkeys(("failed", "dead", "interrupted", "cut short"), "red"),
    **dict.fromkeys(("skipped", "attempted", "queued", "kept", "running"), "yellow"),
}


def prepare() -> None:
    """Make standard output and error escape characters that their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: object) -> None:
    """Print text on standard output, and flush.

    Args:
        text: one line or more.
    """
    print(printable(text, _LINES), flush=True)


def complain(text: object) -> None:
    """Print text on standard error.

    Args:
        text: one line or more.
    """
    print(printable(text, _LINES), file=sys.stderr)


def say_json(content: Any) -> None:
    """Print JSON in ASCII, with control characters escaped.

    Args:
        content: a value that JSON can hold.
    """
    print(json.dumps(content, indent=2).replace("\x7f", "\\u007f"))


def say_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows below their titles: in colours on a terminal, else as plain text.

    Args:
        columns: the titles.
        rows: each with one value per title.
    """
    titles = [title.upper() for title in columns]
    cells = [[printable(value) for value in row] for row in rows]
    if sys.stdout.isatty():
        _say_rich_table(titles, cells)
        return
    table = [titles, *cells]
    widths = [max(len(line[index]) for line in table) for index in range(len(columns))]
    for line in table:
        words = (word.ljust(width) for word, width in zip(line, widths))
        print("  ".join(words).rstrip())


@contextlib.contextmanager
def show_activity(what: str) -> Iterator[None]:
    """Show an activity indicator on standard error if that is a terminal.

    Args:
        what: the activity, such as "connecting to 'node'".
    """
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(printable(what))):
        yield


def close() -> None:
    """Flush standard output.

    Raises:
        BrokenPipeError: the reader has gone.
        OSError: standard output cannot be written, for example on a full disk.
    """
    sys.stdout.flush()


def discard() -> None:
    """Discard the output that is still buffered: the reader of standard output has gone."""
    # Python flushes standard output when it exits, and would report the closed pipe again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say_rich_table(titles: list[str], rows: list[list[str]]) -> None:
    """Print a table on a terminal; a cell that is too wide goes on in the next line."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in titles:
        table.add_column(Text(title), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console(file=sys.stdout).print(table)
