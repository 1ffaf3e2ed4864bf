"""One module for each row: its docstring is for the page, `measure(stage)` gives its lines."""

from __future__ import annotations

import importlib
from typing import Any

# In the order of the page.
ROWS = (
    *("command", "node", "start", "hundred", "fresh"),
    *("transfer", "ship", "suite", "memory", "growth"),
)


def load(name: str) -> Any:
    """The module of a row."""
    return importlib.import_module(f"bench.rows.{name}")
