"""Measurement of what a container uses."""

from __future__ import annotations

from lisa_container.container.command import RunningCommand
from lisa_container.container.place import ContainerPlace
from lisa_container.container.request import CommandRequest
from lisa_container.container.session import SessionPool
from lisa_container.engine.client import Engine
from lisa_container.errors import ContainerError
from lisa_container.recording.commands import SAMPLE, Sample, parse

# Time limit of one measurement, in seconds.
_TIMEOUT = 5.0


def take_sample(engine: Engine, container: str, sessions: SessionPool | None) -> Sample | None:
    """Return what a container has used so far, or None if it cannot tell.

    Args:
        engine: Engine of the node.
        container: Name of the container, which has a shell.
        sessions: Resident shells of the container; without them the engine starts the command.
    """
    try:
        request = CommandRequest(SAMPLE, start_timeout=_TIMEOUT, is_awaited=True)
        running = RunningCommand(ContainerPlace(engine, container, sessions), request)
        return parse(running.wait(_TIMEOUT).stdout)
    except ContainerError:
        return None  # the commands report a dead container or a lost node
