"""Errors about injected faults."""

from __future__ import annotations

from lisa_container.errors.base import ContainerError


class FaultError(ContainerError):
    """A fault could not begin or end."""


class NoBiteError(FaultError):
    """A fault has begun, but no effect was seen."""


class NoTargetError(FaultError):
    """No container is there for a fault."""
