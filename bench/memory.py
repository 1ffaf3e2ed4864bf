"""What memory this process takes (Linux, proc(5))."""

from __future__ import annotations

import gc
import re
from pathlib import Path

_PROC = Path("/proc/self")


def resident() -> float:
    """MiB in use now, after what is garbage was collected."""
    gc.collect()
    return _status("VmRSS")


def peak() -> float:
    """The most MiB since `reset_peak`."""
    return _status("VmHWM")


def reset_peak() -> None:
    """Forget the peak so far."""
    (_PROC / "clear_refs").write_text("5")


def _status(name: str) -> float:
    match = re.search(rf"^{name}:\s+(\d+) kB$", (_PROC / "status").read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1]) / 1024
