"""Fault `stop`: a container is stopped, as by `docker stop`, and started again at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lisa_container.chaos.fault import Fault, Figures
from lisa_container.chaos.target import Target
from lisa_container.config.checks import illegal


@dataclass(frozen=True)
class Stop(Fault):
    """Stop a container; start it again when the fault ends.

    Attributes:
        grace: Seconds that its first process has to end by itself before it is killed.
    """

    kind: ClassVar[str] = "stop"

    grace: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        if self.grace < 0:
            raise illegal("grace", self.grace, "whole seconds, 0 or more")

    def state(self, target: Target) -> str | None:
        """Return whether the container runs."""
        now = target.look()
        return None if now is None else "runs" if now.pid else "stopped"

    def strike(self, target: Target, id: str) -> None:
        """Stop the container."""
        with target.engine.errors(target.name):
            target.engine.api.stop(target.id, timeout=self.grace)

    def undo(self, target: Target, id: str) -> str:
        """Return a script that starts the container, unless it was removed."""
        return start_again(target.id)

    def missing(self, target: Target, before: Figures) -> str:
        """Return why the effect is not seen: the container runs."""
        now = target.look()
        return f"{target} still runs" if now is not None and now.pid else ""


def start_again(container: str) -> str:
    """Return a script that starts a container, unless it runs or was removed.

    Args:
        container: Id of the container.
    """
    return f"""\
case $client in
curl) request -X POST "http://engine/containers/{container}/start" >/dev/null ;;
*) engine start {container} >/dev/null ;;
esac && exit 0
[ ! "$({find_container(container)})" ]"""


def find_container(container: str) -> str:
    """Return a command of the lease's program that prints a container's id if the engine has it.

    Args:
        container: Id of the container.
    """
    return (
        f'if [ $client = curl ]; then field Id "$(request "http://engine/containers/{container}'
        f'/json")" | head -n 1; else engine ps -aq --filter id={container}; fi'
    )
