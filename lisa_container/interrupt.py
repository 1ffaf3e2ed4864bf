"""Ctrl-C while LISA runs cases.

LISA runs cases in threads and on the first Ctrl-C does nothing that they would notice: from Python
3.11 on, asyncio takes it for the event loop, and that does not run meanwhile. So the first Ctrl-C
here ends the commands that cases wait for, and has LISA start no further case; LISA then cleans up
as at any end. A second Ctrl-C does what it always did.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from lisa.util.parallel import cancel

from lisa_container.errors import InterruptedRunError

_count = 0


def now() -> int:
    """A mark for `check`: how often Ctrl-C was pressed so far."""
    return _count


def check(mark: int) -> None:
    """Raise if Ctrl-C was pressed since a mark was taken.

    Raises:
        InterruptedRunError: it was.
    """
    if _count != mark:
        raise InterruptedRunError


def install() -> None:
    """Listen for Ctrl-C before whoever does so now. Python allows it in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        return
    previous: Any = signal.getsignal(signal.SIGINT)
    if not callable(previous):
        return  # it is ignored, as for a job in the background

    def listen(number: int, frame: FrameType | None) -> None:
        global _count
        _count += 1
        cancel()
        previous(number, frame)

    signal.signal(signal.SIGINT, listen)
