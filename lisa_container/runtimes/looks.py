"""Repeated looks at the state of a machine, until it is the expected one or time is up."""

from __future__ import annotations

import time
from datetime import datetime

from lisa_container.errors import LeakError, NodeStateError

# Seconds between two looks. A look over SSH takes a while itself.
_REST = 0.2


class Looks:
    """Looks at a machine within a time limit.

    Args:
        machine: Name of the machine, for errors.
        seconds: Time limit in seconds; with 0 there is one look.

    >>> looks = Looks("node0", 10)
    >>> while not is_gone():
    ...     looks.next("no file", "a file")
    """

    def __init__(self, machine: str, seconds: float) -> None:
        """Begin with the first look."""
        self._machine = machine
        self._seconds = seconds
        self._began = time.monotonic()
        self._since = datetime.now().astimezone().strftime("%H:%M:%S %Z")
        self._tries = 1

    def next(self, expected: str, found: str) -> None:
        """Rest before the next look.

        Args:
            expected: Expected state, for the error.
            found: State at the last look.

        Raises:
            NodeStateError: Time is up.
        """
        if self._is_over():
            raise NodeStateError(
                self._machine, expected, found, self._since, self._tries, self._passed
            )
        self._rest()

    def next_of_leaks(self, leaks: list[str]) -> None:
        """Rest before the next look for leaks.

        Args:
            leaks: Differences at the last look.

        Raises:
            LeakError: Time is up.
        """
        if self._is_over():
            raise LeakError(self._machine, leaks, self._since, self._tries, self._passed)
        self._rest()

    @property
    def _passed(self) -> float:
        return time.monotonic() - self._began

    def _is_over(self) -> bool:
        return self._passed >= self._seconds

    def _rest(self) -> None:
        self._tries += 1
        time.sleep(_REST)
