"""Ctrl-C while LISA runs cases.

LISA runs cases in threads, which do not notice the KeyboardInterrupt in the main thread, and LISA
waits for them. Here each Ctrl-C first ends the commands that cases wait for; then Python's own
handler raises KeyboardInterrupt, so LISA starts no further case and cleans up. From Python 3.11
on, `asyncio.run` has a handler of its own. It installs that only in place of Python's, so not in
place of this one.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Callable

from lisa_container.errors import InterruptedRunError

_count = 0


def now() -> int:
    """Return a mark for `check`: the number of times that Ctrl-C was pressed."""
    return _count


def check(mark: int) -> None:
    """Check whether Ctrl-C was pressed since a mark was taken.

    Raises:
        InterruptedRunError: Ctrl-C was pressed.
    """
    if _count != mark:
        raise InterruptedRunError


def note() -> None:
    """Note a Ctrl-C that came in another way than through `install`."""
    global _count
    _count += 1


def install(on_interrupt: Callable[[], None]) -> None:
    """Handle Ctrl-C before the present handler; Python allows this in the main thread only.

    Args:
        on_interrupt: Called at each Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    previous: Any = signal.getsignal(signal.SIGINT)
    if not callable(previous):
        return  # SIGINT is ignored, as in a background job

    def listen(number: int, frame: FrameType | None) -> None:
        note()
        on_interrupt()
        previous(number, frame)

    signal.signal(signal.SIGINT, listen)
