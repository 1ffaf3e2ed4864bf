"""Fault `kill`: a signal to the first process of a container."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lisa_container.chaos.fault import Fault, Figures
from lisa_container.chaos.target import Target


@dataclass(frozen=True)
class Kill(Fault):
    """Kill the first process of a container. Nothing starts it again.

    Attributes:
        signal: Name of the signal, such as `SIGTERM`. It must end the process.
    """

    kind: ClassVar[str] = "kill"

    signal: str = "SIGKILL"

    def strike(self, target: Target, id: str) -> None:
        """Send the signal."""
        with target.engine.errors(target.name):
            target.engine.api.kill(target.id, self.signal)

    def missing(self, target: Target, before: Figures) -> str:
        """Return why the effect is not seen: the process lives."""
        now = target.look()
        is_same = now is not None and now.pid == target.pid and now.started == target.started
        return f"{target} still runs" if is_same else ""
