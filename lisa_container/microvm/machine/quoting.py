"""Values in QEMU's lists of options."""

from __future__ import annotations

from pathlib import Path


def quote(path: Path) -> str:
    """Return a path as a value in QEMU's lists of options, where a comma separates them.

    >>> quote(Path("/a,b"))
    '/a,,b'
    """
    return str(path).replace(",", ",,")
