"""Thread that watches commands that take long, or whose end no caller waits for."""

from __future__ import annotations

import atexit
import threading
import time
from typing import Protocol

from lisa_container.forks import Belongings

# Seconds between two checks.
_PERIOD = 0.5


class Watched(Protocol):
    """Object that is checked now and then."""

    def check(self, now: float) -> None:
        """Check the object.

        Args:
            now: `time.monotonic()`.
        """

    def flush(self) -> None:
        """Write what is buffered: the process ends."""


_open: Belongings[Watched] = Belongings()
_lock = threading.Lock()
_thread: threading.Thread | None = None


def watch(what: Watched) -> None:
    """Check an object from now on.

    Args:
        what: the object.
    """
    _open.add(what)
    if _thread is None:
        _begin()


def forget(what: Watched) -> None:
    """Stop checking an object.

    Args:
        what: the object.
    """
    _open.discard(what)


def watched() -> list[Watched]:
    """Return all objects that are checked."""
    return list(_open)


def _begin() -> None:
    global _thread
    with _lock:
        if _thread is None:
            _thread = threading.Thread(target=_check_all, name="capture", daemon=True)
            try:
                _thread.start()
            except RuntimeError:  # the process is about to end
                _thread = None


@atexit.register
def _flush() -> None:
    for each in watched():
        each.flush()


def _check_all() -> None:
    while True:
        time.sleep(_PERIOD)
        now = time.monotonic()
        for each in watched():
            each.check(now)
