"""The resident shells of one container: as many as commands run at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Callable

from lisa_container.engine.client import Engine
from lisa_container.engine.exec import Exec, Sink
from lisa_container.engine.waiting import bounded
from lisa_container.errors import ContainerError, EngineTimeoutError
from lisa_container.session.session import NoSessionError, Session, SessionCommand

# How many shells may wait for work, for each user; others end. As many threads find one ready.
_IDLE = 32
# How long (seconds) one may take to be there, where nobody says.
_OPEN_WAIT = 120.0


class SessionPool:
    """Starts commands in a container the quickest way there is.

    Args:
        engine: of the node.
        container: name or id.
    """

    def __init__(self, engine: Engine, container: str) -> None:
        self._engine = engine
        self._container = container
        self._idle: dict[str, list[Session]] = {}
        self._lock = threading.Lock()
        self._unable = False

    def start(
        self,
        command: str | Sequence[str],
        argv: Sequence[str],
        label: str,
        cwd: str = "",
        environment: Mapping[str, str] | None = None,
        user: str = "",
        stdin: bool = False,
        on_stdout: Sink | None = None,
        on_stderr: Sink | None = None,
        start_timeout: float | None = None,
        poll: Callable[[], None] | None = None,
    ) -> Exec | SessionCommand:
        """Start a command in a resident shell, or through the engine where that cannot do it.

        Args:
            command: text for the shell, or words to run without one.
            argv: the same for the engine.
            label: the same for messages.
            cwd: working directory, or nothing for the container's own.
            environment: added to the container's.
            user: who runs it; the container's own by default.
            stdin: whether it gets a stdin to write to.
            on_stdout: called with each piece of output.
            on_stderr: the same for stderr.
            start_timeout: seconds the engine may take to start it.
            poll: called now and then by who waits; what it raises ends the waiting.

        Raises:
            ContainerDiedError, EngineError: see `Exec`.
        """
        began = time.monotonic()

        def through_engine() -> Exec:
            return Exec(
                self._engine,
                self._container,
                argv,
                cwd=cwd,
                environment=environment,
                user=user,
                stdin=stdin,
                on_stdout=on_stdout,
                on_stderr=on_stderr,
                start_timeout=start_timeout,
                poll=poll,
            )

        session = self._take(user, start_timeout)
        text = session.request(command, cwd, environment or {}, stdin) if session else None
        if session is None:
            return through_engine()
        if text is None:
            self._give(session)
            return through_engine()
        return SessionCommand(
            session,
            text,
            label,
            cwd,
            on_stdout,
            on_stderr,
            poll,
            lambda: time.monotonic() - began,
            through_engine,
        )

    def close(self) -> None:
        """End the shells that wait for work."""
        with self._lock:
            sessions = [session for idle in self._idle.values() for session in idle]
            self._idle.clear()
        for session in sessions:
            session.close()

    def _take(self, user: str, timeout: float | None) -> Session | None:
        if self._unable:
            return None
        while True:
            with self._lock:
                idle = self._idle.get(user)
                session = idle.pop() if idle else None
            if session is None:
                break
            if session.is_usable:
                return session
            session.close()
        try:
            return self._open(user, timeout)
        except NoSessionError as error:
            self._engine.node.log.debug(str(error))
            self._unable = True
        except EngineTimeoutError:
            raise
        except ContainerError as error:
            self._engine.node.log.debug(f"no resident shell in '{self._container}': {error}")
        return None

    def _open(self, user: str, timeout: float | None) -> Session:
        def opened() -> Session:
            session = Session(self._engine, self._container, user, self._give)
            if is_late:
                self._give(session)
            return session

        is_late = False
        try:
            return bounded(opened, _OPEN_WAIT if timeout is None else timeout)
        except TimeoutError as error:
            is_late = True
            raise EngineTimeoutError(
                self._engine.name, "start a command", timeout or _OPEN_WAIT
            ) from error

    def _give(self, session: Session) -> None:
        with self._lock:
            idle = self._idle.setdefault(session.user, [])
            if len(idle) < _IDLE:
                idle.append(session)
                return
        session.close()
