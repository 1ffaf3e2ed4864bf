"""Waiting for conditions."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def eventually(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait until a condition returns a true value, and return that; fail after a time limit."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not in {seconds:g} seconds"
        time.sleep(0.05)
    return result


def happens(condition: Callable[[], object], seconds: float) -> bool:
    """Return whether a condition becomes true within a time limit."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())
