"""Fault `remove`: a container is removed while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lisa_container.chaos.fault import Fault, Figures
from lisa_container.chaos.target import Target


@dataclass(frozen=True)
class Remove(Fault):
    """Remove a container, running or not, with its anonymous volumes."""

    kind: ClassVar[str] = "remove"

    def check(self, target: Target) -> None:
        """Accept any container."""

    def strike(self, target: Target, id: str) -> None:
        """Remove the container."""
        with target.engine.errors(target.name):
            target.engine.api.remove_container(target.id, v=True, force=True)

    def missing(self, target: Target, before: Figures) -> str:
        """Return why the effect is not seen: the engine has the container."""
        return f"{target} still exists" if target.look() is not None else ""
