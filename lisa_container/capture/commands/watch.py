"""One thread that looks after commands that take long, or that nobody waits for."""

from __future__ import annotations

import atexit
import threading
import time
from typing import Protocol

# How often (seconds) it looks.
_PERIOD = 0.5


class Watched(Protocol):
    """What it looks after."""

    def look(self, now: float) -> None:
        """Called now and then, with `time.monotonic()`."""

    def flush(self) -> None:
        """Called at the end of the process."""


_open: dict[int, Watched] = {}
_lock = threading.Lock()
_thread: threading.Thread | None = None


def watch(what: Watched) -> None:
    """Look after something from now on."""
    _open[id(what)] = what
    if _thread is None:
        _begin()


def forget(what: Watched) -> None:
    """Do not look after it any more."""
    _open.pop(id(what), None)


def watched() -> list[Watched]:
    """All that is looked after."""
    return list(_open.values())


def _begin() -> None:
    global _thread
    with _lock:
        if _thread is None:
            _thread = threading.Thread(target=_look, name="capture", daemon=True)
            try:
                _thread.start()
            except RuntimeError:  # the process is about to end
                _thread = None


@atexit.register
def _flush() -> None:
    for each in watched():
        each.flush()


def _look() -> None:
    while True:
        time.sleep(_PERIOD)
        now = time.monotonic()
        for each in watched():
            each.look(now)
