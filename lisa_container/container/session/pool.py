"""Pool of resident shells in one container or virtual machine, one for each running command."""

from __future__ import annotations

import shlex
import threading
import time
from typing import Callable

from lisa_container.container.process import ContainerProcess
from lisa_container.container.request import CommandRequest, Sinks, to_argv
from lisa_container.container.session.command import SessionCommand
from lisa_container.container.session.errors import (
    NoSessionError,
    SessionEndedError,
    SilentError,
)
from lisa_container.container.session.host import ShellHost
from lisa_container.container.session.session import Session
from lisa_container.engine.waiting import bounded
from lisa_container.errors import ContainerError, EngineTimeoutError, SshLostError

# Largest number of shells that wait for work, for each user. Others end.
_IDLE = 32
# Default time limits, in seconds, for a shell to start and to answer.
_OPEN_WAIT, _ANSWER_WAIT = 120.0, 20.0

# Prints the beginnings of `head` itself and of a program, if the program exists.
_LOOK = """exec 2>/dev/null
p={program}
case $p in
*/*) ;;
*) IFS=:
for d in $PATH; do
[ ! -f "${{d:-.}}/$p" ] || [ ! -x "${{d:-.}}/$p" ] || break
done
p=${{d:-.}}/$p ;;
esac
[ -f "$p" ] && [ -x "$p" ] || exit 3
head -c 20 /proc/self/exe
head -c 20 "$p"
exit 0"""
# Size of each, and the parts of an ELF header (elf(5)) that a program of this machine has as
# `head` has them: magic number, class and byte order; machine.
_LONGEST_PATH = 4096
_HEAD, _FORMAT = 20, (slice(0, 6), slice(18, 20))

# User of a shell, and whether it is on a terminal.
_Kind = tuple[str, bool]


# Function that starts a command without a resident shell. The last argument says whether the host's
# shell marks a string's processes.
Otherwise = Callable[[CommandRequest, Sinks, bool], ContainerProcess]


class SessionPool:
    """Pool of resident shells in one container or virtual machine, which starts commands in them.

    Args:
        host: The container or virtual machine.
        otherwise: Called to start a command that no shell can run.
    """

    def __init__(self, host: ShellHost, otherwise: Otherwise) -> None:
        """Begin without shells; the first command starts one."""
        self._host = host
        self._otherwise = otherwise
        self._idle: dict[_Kind, list[Session]] = {}
        self._lock = threading.Lock()
        # Users without a resident shell, and whether the container's `sh` can mark a string's
        # processes. The empty name, the container's own user, stands for all.
        self._unable: dict[_Kind, bool] = {}
        # Programs that a shell runs as the engine does, each with its folder and PATH.
        self._executable: set[tuple[str, str, str | None]] = set()

    def start(
        self,
        request: CommandRequest,
        sinks: Sinks,
        is_read: bool = True,
    ) -> ContainerProcess:
        """Start a command in a resident shell, or otherwise if no shell can run it.

        Args:
            request: Command to run.
            sinks: Receivers of its output.
            is_read: Read the output in a thread, also while the caller does not wait.

        Raises:
            ContainerError: The command cannot be started.
        """
        began = time.monotonic()
        kind = (request.user, request.terminal)
        while True:
            session = self._take(kind, request.start_timeout)
            if session is None:
                break
            try:
                text = session.request(request)
                if text is None or not self._is_executable(session, request):
                    self._give(session)
                    break
                session.send(text)
            except OSError:
                session.close()  # an incomplete request is not run
                continue
            except BaseException:
                session.close()
                raise
            return SessionCommand(session, request, sinks, self._give, is_read, began)
        has_mark = session is not None or any(self._unable.get(key) for key in _all_users(kind))
        return self._otherwise(request, sinks, has_mark)

    def drop(self) -> None:
        """End the shells that wait for work, also if the container is gone."""
        with self._lock:
            sessions = [session for idle in self._idle.values() for session in idle]
            self._idle.clear()
        for session in sessions:
            session.close()

    def _is_executable(self, session: Session, request: CommandRequest) -> bool:
        """Return whether a shell runs the program as the engine does; a good one is looked at once.

        The kernel refuses a program of an unknown format. A shell would then run it as a script.
        """
        program = "" if request.is_for_shell else "".join(to_argv(request.command)[:1])
        path = request.environment.get("PATH")
        key = (program, request.cwd, path)
        if not program or len(program) > _LONGEST_PATH or key in self._executable:
            return True
        look = CommandRequest(
            _LOOK.format(program=shlex.quote(program)),
            request.cwd,
            {} if path is None else {"PATH": path},
        )
        try:
            heads, exit_code = session.run_short(look)
        except (SessionEndedError, SilentError):
            session.is_spent = True
            return False
        if exit_code != 0:
            return True  # no program: the shell says so
        own, head = heads[:_HEAD], heads[_HEAD:]
        is_executable = head[:2] == b"#!" or all(head[part] == own[part] for part in _FORMAT)
        if is_executable:
            self._executable.add(key)
        return is_executable

    def _take(self, kind: _Kind, timeout: float | None) -> Session | None:
        """Return a shell that is ready, or None if the container can have none."""
        if not self._unable.keys().isdisjoint(_all_users(kind)):
            return None
        deadline = time.monotonic() + (_ANSWER_WAIT if timeout is None else timeout)
        while True:
            with self._lock:
                idle = self._idle.get(kind)
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
                    raise self._host.late_start(timeout or _ANSWER_WAIT) from error
            except BaseException:
                session.close()
                raise
            session.close()
        try:
            try:
                return self._open(kind, timeout)
            except SshLostError:
                # A broken connection shows at its first use. No command was sent, so try again.
                return self._open(kind, timeout)
        except EngineTimeoutError:
            raise
        except ContainerError as error:
            if isinstance(error, NoSessionError):
                self._unable[kind] = error.can_mark
            self._host.miss_shell(error)
        return None

    def _open(self, kind: _Kind, timeout: float | None) -> Session | None:
        user, terminal = kind
        seconds = _OPEN_WAIT if timeout is None else timeout

        def opened() -> Session:
            session = Session(self._host, user, seconds, terminal)
            if is_late:
                self._give(session)
            return session

        is_late = False
        try:
            return bounded(opened, seconds)
        except (TimeoutError, SilentError) as error:
            is_late = True
            raise self._host.late_start(seconds) from error

    def _give(self, session: Session) -> None:
        if not session.is_spent:
            session.rest()
            with self._lock:
                idle = self._idle.setdefault((session.user, session.terminal), [])
                if len(idle) < _IDLE:
                    idle.append(session)
                    return
        session.close()


def _all_users(kind: _Kind) -> set[_Kind]:
    """Return a kind of shell and the kind that stands for all users."""
    return {kind, ("", kind[1])}
