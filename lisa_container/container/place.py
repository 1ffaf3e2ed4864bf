"""Container in which commands run: in resident shells, or by the engine's exec."""

from __future__ import annotations

from functools import partial

from lisa.util.logger import Logger

from lisa_container.container.exec import Exec
from lisa_container.container.process import ContainerProcess
from lisa_container.container.request import CommandRequest, Sinks
from lisa_container.container.session import SessionPool
from lisa_container.container.session.in_container import ContainerHost
from lisa_container.container.session.protocol import LONGEST_STDIN
from lisa_container.container.state import death_of
from lisa_container.engine.client import Engine


class ContainerPlace:
    """Container in which commands run; see `CommandPlace`.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.
        sessions: Resident shells of the container; without them the engine starts the commands.
    """

    def __init__(self, engine: Engine, container: str, sessions: SessionPool | None = None) -> None:
        """Start nothing yet."""
        self.name = container
        self._engine = engine
        self._sessions = sessions

    @property
    def log(self) -> Logger:
        """Log of the node."""
        return self._engine.node.log

    def start(self, request: CommandRequest, sinks: Sinks, is_read: bool) -> ContainerProcess:
        """Start a command in a resident shell, or by the engine."""
        if self._sessions is None or not _fits_session(request):
            return Exec(self._engine, self.name, request, sinks)
        return self._sessions.start(request, sinks, is_read)

    def death(self) -> BaseException | None:
        """Return the error that says why the container does not run; None if it runs."""
        return death_of(self._engine, self.name)


def shells_of(engine: Engine, container: str) -> SessionPool:
    """Return a pool of resident shells in a container, without a shell yet.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.
    """
    return SessionPool(ContainerHost(engine, container), partial(_start_exec, engine, container))


def _start_exec(
    engine: Engine, container: str, request: CommandRequest, sinks: Sinks, has_mark: bool
) -> ContainerProcess:
    return Exec(engine, container, request, sinks, has_mark=has_mark)


def _fits_session(request: CommandRequest) -> bool:
    """Return whether a resident shell can give the command its stdin."""
    stdin = request.stdin
    # A signal reaches both ends of a pipe, so only a command that gets no signal but SIGKILL may
    # read from one.
    is_short = isinstance(stdin, bytes) and len(stdin) <= LONGEST_STDIN
    return stdin is None or (request.is_awaited and is_short)
