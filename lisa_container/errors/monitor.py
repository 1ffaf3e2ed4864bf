"""Errors about what containers use."""

from __future__ import annotations

from collections.abc import Sequence

from lisa_container.errors.base import ContainerError


class AlertError(ContainerError):
    """Containers have exceeded limits of alerts.

    Args:
        violations: One line for each limit that was exceeded.
    """

    def __init__(self, violations: Sequence[str]) -> None:
        """Build the message."""
        super().__init__("limits were exceeded:\n" + "\n".join(f"- {each}" for each in violations))


class GrowthError(ContainerError):
    """A figure of a container grows with each operation, as with a leak."""
