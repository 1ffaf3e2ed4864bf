"""Fault `restart`: a container is stopped and started at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lisa_container.chaos.fault import Fault, Figures
from lisa_container.chaos.stop import start_again
from lisa_container.chaos.target import Target


@dataclass(frozen=True)
class Restart(Fault):
    """Restart a container, without time for its first process to end by itself."""

    kind: ClassVar[str] = "restart"

    def strike(self, target: Target, id: str) -> None:
        """Restart the container."""
        with target.engine.errors(target.name):
            target.engine.api.restart(target.id, timeout=0)

    def undo(self, target: Target, id: str) -> str:
        """Return a script that starts the container, where the restart was cut off half-way."""
        return start_again(target.id)

    def missing(self, target: Target, before: Figures) -> str:
        """Return why the effect is not seen: no new start, or it does not run."""
        now = target.look()
        if now is None or not now.pid:
            return f"{target} does not run"
        return f"{target} was not started anew" if now.started == target.started else ""
