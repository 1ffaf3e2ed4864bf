"""Waiting that neither a hung engine nor a lost node can make endless."""

from __future__ import annotations

import threading
import time
from typing import Callable, TypeVar

T = TypeVar("T")

# Waiting happens in slices this long (seconds), so that LISA's case timeout and Ctrl-C, which come
# as exceptions between two steps of Python, get through at once.
SLICE = 0.1


def wait_for(
    event: threading.Event, timeout: float | None, poll: Callable[[], None] | None = None
) -> bool:
    """Wait for an event; whether it came in time.

    Args:
        event: to wait for.
        timeout: seconds; None waits for ever.
        poll: called now and then; what it raises ends the waiting.
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
    """Do something that may hang; its result.

    It is done in a thread of its own, which is left to itself when the time is up.

    Args:
        job: what to do.
        seconds: how long to wait for it; None waits for ever.

    Raises:
        TimeoutError: it has not come to an end; or whatever the job raised.
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
