"""Time limits for waiting, against hung engines and lost nodes."""

from __future__ import annotations

import threading
import time
from typing import Callable, TypeVar

T = TypeVar("T")

# Wait in slices of this length (seconds). LISA's case timeout and Ctrl-C are exceptions between two
# steps of Python, so they get through at once.
SLICE = 0.1


def wait_for(
    event: threading.Event, timeout: float | None, poll: Callable[[], None] | None = None
) -> bool:
    """Wait for an event; return whether it came in time.

    Args:
        event: the event to wait for.
        timeout: time limit in seconds; None: no limit.
        poll: called regularly meanwhile; an exception of it ends the wait.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left = SLICE if deadline is None else min(SLICE, deadline - time.monotonic())
        if event.wait(max(0.0, left)):
            return True
        if deadline is not None and time.monotonic() >= deadline:
            return False
        if poll is not None:
            poll()


def bounded(job: Callable[[], T], seconds: float | None) -> T:
    """Call a function that may hang, in a thread of its own; return its result.

    The thread goes on after the time limit.

    Args:
        job: the function. Its exceptions are raised here.
        seconds: time limit; None: no limit.

    Raises:
        TimeoutError: the time limit was reached.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def work() -> None:
        try:
            results.append(job())
        except BaseException as error:  # raised in the waiting thread
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=work, name="bounded", daemon=True).start()
    if not wait_for(done, seconds):
        raise TimeoutError(f"no answer in {seconds or 0:g} seconds")
    if errors:
        raise errors[0]
    return results[0]
