"""Every error a user of lisa_container can meet.

Each message names the thing that failed, the cause, and the next step, so that it can be read in a
LISA result without the log beside it. All of them are `lisa.util.LisaException`, as LISA's own are.
"""

from __future__ import annotations

from lisa.util import LisaException


class ContainerError(LisaException):
    """Base of all errors raised by lisa_container."""


class ConfigError(ContainerError):
    """A value the user gave is wrong. Raised before anything is created on a node."""
