"""One module per row. Its docstring is part of the page, and `measure(stage)` returns its lines."""

from __future__ import annotations

import importlib
from typing import Any

# In the order of the page.
ROWS = (
    *("command", "node", "start", "hundred", "fresh"),
    *("transfer", "ship", "suite", "memory", "growth"),
    *("fleet", "monitor", "vm", "nested"),
)


def load(name: str) -> Any:
    """Import the module of a row."""
    return importlib.import_module(f"bench.rows.{name}")
