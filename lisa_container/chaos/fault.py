"""Base of all faults: what an injector asks of one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from lisa_container.chaos.target import Target
from lisa_container.config.checks import positive_seconds

Figures = tuple[float, ...]
"""Figures in which the effect of a fault is seen."""


@dataclass(frozen=True)
class Fault(ABC):
    """Fault for one container. The constructor checks all values.

    Attributes:
        duration: Seconds after which the fault ends by itself; None means when it is stopped.
    """

    kind: ClassVar[str]
    """Name of the kind of fault, for messages."""
    bite_seconds: ClassVar[float] = 10.0
    """Seconds within which the effect must be seen."""

    duration: float | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: A value is wrong.
        """
        if self.duration is not None:
            positive_seconds("duration", self.duration)

    def check(self, target: Target) -> None:
        """Refuse a fault that the node cannot do, or that a foreign setting is in the way of.

        A container that does not run is refused in any case but for `remove`.

        Args:
            target: The container.

        Raises:
            FaultError: The message names the package, the kernel's option or the setting.
        """
        target.require_running()

    def state(self, target: Target) -> str | None:
        """Return the state that the fault changes, to compare it before and after the fault.

        Args:
            target: The container.

        Returns:
            The state; None where it cannot be told, or nothing is to be compared.
        """
        return None

    def measure(self, target: Target) -> Figures:
        """Return the figures in which the effect is seen, by other means than the fault's own.

        Args:
            target: The container.
        """
        return ()

    def undo(self, target: Target, id: str) -> str:
        """Return the script that ends the fault, for the node's sh; empty if nothing is to be done.

        It may run several times, and when the container was restarted, replaced or removed. It
        succeeds when the fault is gone.

        Args:
            target: The container.
            id: Id of the fault.
        """
        return ""

    @abstractmethod
    def strike(self, target: Target, id: str) -> None:
        """Begin the fault.

        Args:
            target: The container.
            id: Id of the fault.

        Raises:
            FaultError: The node could not do it.
            EngineError: The engine refused.
        """

    @abstractmethod
    def missing(self, target: Target, before: Figures) -> str:
        """Return why the effect is not seen yet; empty if it is seen.

        Args:
            target: The container.
            before: Result of `measure` before the fault.
        """
