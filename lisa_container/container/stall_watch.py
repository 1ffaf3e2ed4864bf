"""End of a command in a container that does not read its stdin."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from lisa_container.container.exec import Exec


class StallWatch:
    """Watch that kills a command without progress, for the time of a `with` block.

    A writer waits until the command reads, without a time limit of its own.

    Args:
        command: Command to watch.
        seconds: Longest time without progress, in seconds.
    """

    def __init__(self, command: Exec, seconds: float) -> None:
        """Prepare the watch, which begins with the `with` block."""
        self.fired = False
        """Whether the command was killed."""
        self._command = command
        self._seconds = seconds
        self._heard = time.monotonic()
        self._done = threading.Event()

    def progress(self) -> None:
        """Note that the command has read something."""
        self._heard = time.monotonic()

    def __enter__(self) -> StallWatch:
        """Begin to watch."""
        threading.Thread(target=self._look, name="copy-watch", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the watch."""
        self._done.set()

    def _look(self) -> None:
        while True:
            left = self._heard + self._seconds - time.monotonic()
            if left <= 0:
                self.fired = True
                self._command.kill_soon()
                return
            if self._done.wait(left):
                return
