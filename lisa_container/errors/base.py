"""Bases of all errors, and the errors about what the user gave."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

from lisa.util import LisaException

from lisa_container.masking import mask_known


class ContainerError(LisaException):
    """Base of all errors that lisa_container raises.

    Args:
        args: those of an exception: usually the message.
    """

    def __init__(self, *args: object) -> None:
        """Mask secrets in the message. LISA would also mask the names of nodes' users."""
        super().__init__(*args)
        self.args = tuple(mask_known(arg) if isinstance(arg, str) else arg for arg in args)


class ConfigError(ContainerError):
    """A value from the user is wrong. It is raised before anything is created on a node."""


class FrozenConfigError(ConfigError, FrozenInstanceError, TypeError):
    """Attempt to change a config, which is immutable; `merged` returns a new one."""


class PlanError(ConfigError):
    """A plan's file is wrong; the message lists all mistakes.

    Args:
        file: Path of the plan.
        mistakes: Line and reason of each mistake. Lines count from 1; 0 means the whole file.
    """

    def __init__(self, file: str, mistakes: list[tuple[int, str]]) -> None:
        """Build the message: one line for each mistake."""
        self.file = file
        self.mistakes = mistakes
        lines = (
            f"{file}:{line}: {reason}" if line else f"{file}: {reason}" for line, reason in mistakes
        )
        super().__init__("\n".join(lines))
