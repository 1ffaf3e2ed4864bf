"""`lisa-container docs`: the pages of the documentation, which are installed with the package."""

from __future__ import annotations

import argparse
import difflib
import importlib.metadata
from pathlib import Path

from lisa_container.cli.codes import UNREACHABLE
from lisa_container.cli.output import complain, say

_END = ".md"
# Where pip puts the pages, below the environment's folder (pyproject.toml, data-files).
_FOLDER = "share/doc/lisa-container/"


def run(arguments: argparse.Namespace) -> int:
    """Print a page, or the names and titles of all; return the exit code."""
    pages = find_pages()
    name = arguments.page.rpartition("/")[2].removesuffix(_END)
    if name in pages:
        say(pages[name].read_text(encoding="utf-8").rstrip())
        return 0
    if name:
        nearest = difflib.get_close_matches(name, pages, n=1)
        hint = f"did you mean '{nearest[0]}'? " if nearest else ""
        complain(f"page: given '{arguments.page}'; {hint}legal: {', '.join(pages)}")
        return UNREACHABLE
    width = max(map(len, pages))
    for each, page in pages.items():
        title = page.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        say(f"{each.ljust(width)}  {title}")
    return 0


def find_pages() -> dict[str, Path]:
    """Return the pages by name: those that pip installed, or those of this checkout.

    Raises:
        FileNotFoundError: There are none.
    """
    checkout = Path(__file__).parents[2] / "docs"
    if checkout.is_dir():
        found = list(checkout.glob(f"*{_END}"))
    else:
        files = importlib.metadata.files("lisa_container") or []
        installed = [Path(str(file.locate())) for file in files if _FOLDER in file.as_posix()]
        found = [path for path in installed if path.suffix == _END]
    if not found:
        raise FileNotFoundError(
            "the pages of the documentation are not installed; they are in the folder 'docs' of "
            "lisa_container's sources"
        )
    return {path.stem: path for path in sorted(found)}
