"""The resident shells of one container: as many as commands run at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Callable

from lisa_container.engine.client import Engine
from lisa_container.engine.exec import Exec, Sink
from lisa_container.engine.waiting import bounded
from lisa_container.errors import ContainerError, EngineTimeoutError, SshLostError
from lisa_container.session.command import SessionCommand
from lisa_container.session.protocol import Options
from lisa_container.session.session import NoSessionError, Session, SilentError

# How many shells may wait for work, for each user; others end. As many threads find one ready.
_IDLE = 32
# How long (seconds) one may take to be there, and to answer, where nobody says.
_OPEN_WAIT, _ANSWER_WAIT = 120.0, 20.0


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
        options: Options,
        user: str = "",
        on_stdout: Sink | None = None,
        on_stderr: Sink | None = None,
        start_timeout: float | None = None,
        poll: Callable[[], None] | None = None,
        is_read: bool = True,
    ) -> Exec | SessionCommand:
        """Start a command in a resident shell, or through the engine where that cannot do it.

        Args:
            command: text for the shell, or words to run without one.
            argv: the same for the engine.
            label: the same for messages.
            options: what it gets beside.
            user: who runs it; the container's own by default.
            on_stdout: called with each piece of output.
            on_stderr: the same for stderr.
            start_timeout: seconds the engine may take to start it.
            poll: called now and then by who waits; what it raises ends the waiting.
            is_read: its output is read while nobody waits, too, by a thread of its own.

        Raises:
            ContainerDiedError, EngineError: see `Exec`.
        """
        began = time.monotonic()
        while True:
            session = self._take(user, start_timeout)
            text = session.request(command, options) if session else None
            if session is None or text is None:
                if session is not None:
                    self._give(session)
                break
            try:
                session.send(text)
            except OSError:
                session.close()  # not sent whole, it was not run
                continue
            except BaseException:
                session.close()
                raise
            return SessionCommand(
                session,
                label,
                options.cwd,
                on_stdout,
                on_stderr,
                poll,
                began,
                self._give,
                is_read,
            )
        return Exec(
            self._engine,
            self._container,
            argv,
            cwd=options.cwd,
            environment=options.environment,
            user=user,
            stdin=options.interactive or options.stdin is not None,
            on_stdout=on_stdout,
            on_stderr=on_stderr,
            start_timeout=start_timeout,
            poll=poll,
        )

    def drop(self) -> None:
        """End the shells that wait for work; those of a container that is gone, too."""
        with self._lock:
            sessions = [session for idle in self._idle.values() for session in idle]
            self._idle.clear()
        for session in sessions:
            session.close()

    def _take(self, user: str, timeout: float | None) -> Session | None:
        """A shell that is ready; none where the container can have none."""
        if self._unable:
            return None
        deadline = time.monotonic() + (_ANSWER_WAIT if timeout is None else timeout)
        while True:
            with self._lock:
                idle = self._idle.get(user)
                session = idle.pop() if idle else None
            if session is None:
                break
            try:
                left = min(_ANSWER_WAIT, deadline - time.monotonic())
                if session.is_usable(max(0.1, left)):
                    return session
            except SilentError as error:
                session.close()
                if time.monotonic() >= deadline:
                    raise self._late(timeout or _ANSWER_WAIT) from error
            except BaseException:
                session.close()
                raise
            session.close()
        try:
            try:
                return self._open(user, timeout)
            except SshLostError:
                # A connection that had broken is found out by using it, and no command was sent.
                return self._open(user, timeout)
        except EngineTimeoutError:
            raise
        except ContainerError as error:
            self._unable = isinstance(error, NoSessionError)
            self._engine.node.log.debug(f"no resident shell in '{self._container}': {error}")
        return None

    def _open(self, user: str, timeout: float | None) -> Session | None:
        seconds = _OPEN_WAIT if timeout is None else timeout

        def opened() -> Session:
            session = Session(self._engine, self._container, user, seconds)
            if is_late:
                self._give(session)
            return session

        is_late = False
        try:
            return bounded(opened, seconds)
        except (TimeoutError, SilentError) as error:
            is_late = True
            raise self._late(seconds) from error

    def _late(self, seconds: float) -> EngineTimeoutError:
        return EngineTimeoutError(self._engine.name, "start a command", seconds)

    def _give(self, session: Session) -> None:
        if not session.is_spent:
            session.rest()
            with self._lock:
                idle = self._idle.setdefault(session.user, [])
                if len(idle) < _IDLE:
                    idle.append(session)
                    return
        session.close()
