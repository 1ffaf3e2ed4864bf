"""Errors of resident shells; the commands' own errors are in `lisa_container.errors`."""

from __future__ import annotations

from lisa_container.errors import EngineError


class SessionEndedError(EngineError):
    """The resident shell has ended."""


class NoSessionError(EngineError):
    """A container or virtual machine cannot have a resident shell.

    Args:
        message: Text of the error.
        can_mark: Whether its `sh` can still mark the processes of a string, see `signals`.
    """

    def __init__(self, message: str, can_mark: bool = False) -> None:
        """Make the error."""
        super().__init__(message)
        self.can_mark = can_mark


class NoUserError(EngineError):
    """The container does not know the user, at least not yet."""


class SilentError(Exception):
    """The resident shell does not answer."""
