"""Follower of the life of containers: the records of cases, which are made in a higher layer."""

from __future__ import annotations

from typing import Protocol

from lisa.node import Node

from lisa_container.config import ContainerTestConfig
from lisa_container.engine.client import Engine
from lisa_container.recording.container import ContainerCapture


class Followed(Protocol):
    """Container whose life is followed."""

    keep: bool
    """Whether the container stays on its node."""

    @property
    def name(self) -> str:
        """Name in the records, by which the engine knows the container, too."""

    @property
    def id(self) -> str:
        """Id of the container."""

    @property
    def host(self) -> Node:
        """Node of the container."""

    @property
    def engine(self) -> Engine:
        """Engine of the node."""

    @property
    def config(self) -> ContainerTestConfig:
        """Config of the container."""

    @property
    def capture(self) -> ContainerCapture:
        """Records of the container and its commands."""

    @property
    def is_started(self) -> bool:
        """Whether the container was started and not removed."""

    @property
    def enter_command(self) -> str:
        """Command line that opens a shell in the container; empty if its command has ended."""


class Follower(Protocol):
    """Follower of the life of all containers."""

    def started(self, container: Followed) -> None:
        """Note that the container has started."""

    def has(self, container: Followed) -> bool:
        """Return whether a case that goes on has the container."""

    def ending(self, container: Followed, error: BaseException | None) -> None:
        """Note that the container is about to be removed.

        Args:
            container: The container, which is still there.
            error: Exception that ends the use of the container; None if there is none.
        """


class _Nobody:
    """Follower where there are no cases."""

    def started(self, container: Followed) -> None: ...

    def has(self, container: Followed) -> bool:
        return False

    def ending(self, container: Followed, error: BaseException | None) -> None: ...


_follower: list[Follower] = [_Nobody()]


def follow_with(follower: Follower) -> None:
    """Set the follower of all containers of this process."""
    _follower[:] = [follower]


def follower() -> Follower:
    """Return the follower of all containers of this process."""
    return _follower[0]
