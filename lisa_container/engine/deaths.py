"""Detection of containers that die while a command runs in them.

Usually the command's stream ends with the container. If the container's shim was killed, the engine
learns of the death at once but never ends the stream. So while long commands run, their engine's
running containers are listed regularly, with one request for all commands.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Callable

from lisa_container.errors import EngineError

if TYPE_CHECKING:
    from lisa_container.engine.client import Engine

# Seconds between two checks. A container is dead if it is missing in two of them: after the first,
# its commands' last output may still be on its way.
_PERIOD = 0.7
# Failed checks in a row after which the watch gives up. The waiting commands then fail as well.
_MOST_FAILURES = 5
# Checks without any command after which the thread ends. An idle thread costs less than a new one
# for each of many short commands.
_MOST_IDLE = 3


class WatchedContainer:
    """Container that a command runs in, watched until the end of a `with` block.

    Args:
        watch: the watch of its engine.
        container: name or id.
        hang_up: called in another thread when the container has died. It must not wait.
    """

    def __init__(self, watch: DeathWatch, container: str, hang_up: Callable[[], None]) -> None:
        """Record the start time. `DeathWatch.watch` begins the watch."""
        self.container = container
        self.hang_up = hang_up
        self.since = time.monotonic()
        self.times_missed = 0
        self._watch = watch

    def __enter__(self) -> WatchedContainer:
        """Return this object."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """End the watch."""
        self.end()

    def end(self) -> None:
        """Stop watching this container. A second call does nothing."""
        self._watch.remove(self)


class DeathWatch:
    """Thread that checks the running containers of one engine while any is watched."""

    def __init__(self, engine: Engine) -> None:
        """Watch no container yet."""
        self._engine = engine
        self._lock = threading.Lock()
        self._watched: set[WatchedContainer] = set()
        self._has_thread = False

    def watch(self, container: str, hang_up: Callable[[], None]) -> WatchedContainer:
        """Watch a container until the result's `end`; see `WatchedContainer` for the arguments."""
        watched = WatchedContainer(self, container, hang_up)
        with self._lock:
            self._watched.add(watched)
            if not self._has_thread:
                self._has_thread = True
                threading.Thread(target=self._check_regularly, name="deaths", daemon=True).start()
        return watched

    def remove(self, watched: WatchedContainer) -> None:
        """Stop watching a container."""
        with self._lock:
            self._watched.discard(watched)

    def _check_regularly(self) -> None:
        idle = failures = 0
        while True:
            time.sleep(_PERIOD)
            with self._lock:
                idle = 0 if self._watched else idle + 1
                if idle >= _MOST_IDLE or failures >= _MOST_FAILURES:
                    self._watched.clear()
                    self._has_thread = False
                    return
                # Most commands end within one period, so that they never cause a request.
                begun = time.monotonic() - _PERIOD
                old = [each for each in self._watched if each.since < begun]
            try:
                if old:
                    self._check(old)
                failures = 0
            except EngineError:
                failures += 1

    def _is_dead(self, container: str) -> bool:
        """Inspect one container: podman does not list paused ones, and it may be restarting."""
        try:
            with self._engine.errors(container):
                state = self._engine.api.inspect_container(container)["State"]
        except EngineError as error:
            return "no such container" in str(error).lower()
        return not any(state.get(name) for name in ("Running", "Paused", "Restarting"))

    def _check(self, old: list[WatchedContainer]) -> None:
        with self._engine.errors():
            running = self._engine.api.containers()
        names = {name.lstrip("/") for each in running for name in each.get("Names") or []}
        ids = [str(each["Id"]) for each in running]
        for watched in old:
            if watched.container in names or any(x.startswith(watched.container) for x in ids):
                watched.times_missed = 0
                continue
            watched.times_missed += 1
            if watched.times_missed >= 2 and self._is_dead(watched.container):
                watched.end()
                with contextlib.suppress(OSError):  # its stream has ended meanwhile
                    watched.hang_up()
