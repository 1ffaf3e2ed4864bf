"""Run rows, print their table, and write the page. See `python -m bench --help`."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from bench.machine import describe_machine, load
from bench.page import page, table
from bench.result import Row
from bench.rows import ROWS
from bench.rows import load as load_row
from bench.stage import Stage

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks.

    Returns:
        The exit code: 1 if a row could not be run. A missed target is a result, not a failure.
    """
    options = _options(arguments)
    names = [name for name in ROWS if name in (options.rows or ROWS)]
    before = load()
    with Stage(options.quick) as stage:
        about = describe_machine(stage.api())
    rows = [_run(name, options.quick) for name in names]
    if options.quick:
        about["run"] = "a quick run, which only shows that the rows work"
    about["load"] = f"{before} before the first row, {load()} at the end"
    print(table(rows))
    path = options.page or (PAGE if names == list(ROWS) and not options.quick else None)
    if path:
        documents = {row.name: load_row(row.name).__doc__ for row in rows}
        path.write_text(page(rows, about, documents), encoding="utf-8")
    else:
        _print_progress("The page is only written when all rows are run, or with --page.")
    return int(any(row.error for row in rows))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="row", help=f"all, or some of {', '.join(ROWS)}")
    parser.add_argument("--quick", action="store_true", help="only check that the rows work")
    parser.add_argument(
        "--page", type=Path, help="path of the page to write, even if only some rows are run"
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        parser.error(f"unknown row {', '.join(unknown)}; legal: {', '.join(ROWS)}")
    return options


def _run(name: str, quick: bool) -> Row:
    begin = time.monotonic()
    try:
        with Stage(quick) as stage:
            row = Row(name, tuple(load_row(name).measure(stage)))
    except Exception as error:  # continue with the other rows
        traceback.print_exc()
        row = Row(name, error=f"{type(error).__name__}: {error}")
    _print_progress(f"{name}: {time.monotonic() - begin:.0f} s")
    return row


def _print_progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
