"""Memory of this process (Linux, proc(5))."""

from __future__ import annotations

import gc
import re
from pathlib import Path

_PROC = Path("/proc/self")


def resident() -> float:
    """Return the resident memory in MiB after a garbage collection."""
    gc.collect()
    return _status("VmRSS")


def peak() -> float:
    """Return the peak of the resident memory in MiB since `reset_peak`."""
    return _status("VmHWM")


def reset_peak() -> None:
    """Reset the peak to the current value."""
    (_PROC / "clear_refs").write_text("5")


def _status(name: str) -> float:
    match = re.search(rf"^{name}:\s+(\d+) kB$", (_PROC / "status").read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1]) / 1024
