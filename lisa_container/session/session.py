"""One resident shell in a container, and the command it runs."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Callable

from lisa_container.engine.client import Engine
from lisa_container.engine.exec import Exec, Sink
from lisa_container.engine.frames import STDERR, STDOUT, read_frames
from lisa_container.engine.signals import (
    Target,
    kill_leader,
    kill_session,
    signal_group,
    signal_leader,
)
from lisa_container.engine.sockets import EngineFile
from lisa_container.engine.state import death_of, was_out_of_memory
from lisa_container.engine.waiting import bounded, wait_for
from lisa_container.errors import (
    CommandNotStartedError,
    ContainerDiedError,
    ContainerError,
    EngineError,
    KillError,
    SshLostError,
)
from lisa_container.session.protocol import SCRIPT, Mark, Splitter, greeting, request

# How long (seconds) a shell may take to be there, and a killed command to disappear.
_OPEN_WAIT = 20.0
_KILL_WAIT = 10.0
# How long the engine may take to answer when all else waits for that.
_ANSWER_WAIT = 5.0
# How long (seconds) after a container's death the engine may still be removing it.
_SETTLE = 0.3
_KILL_TRIES = 10

_KILLED = 137  # 128 + SIGKILL


class NoSessionError(ContainerError):
    """The container cannot have a resident shell; its commands go through the engine."""


class Session:
    """A resident shell. It runs one command at a time.

    Args:
        engine: of the node.
        container: name or id.
        user: who runs the commands; the container's own by default.
        on_free: called when it can take the next command.

    Raises:
        NoSessionError: the image has no `sh`, or no `setsid`.
        EngineError: the engine refused, or the container does not run.
    """

    def __init__(
        self, engine: Engine, container: str, user: str, on_free: Callable[[Session], None]
    ) -> None:
        self.engine = engine
        self.container = container
        self.user = user
        self.pid = 0
        """Of the worker that waits, or that became the present command; in the container."""
        self._token = secrets.token_hex(16)
        self._splitters = {
            STDOUT: Splitter(self._token, greets=True),
            STDERR: Splitter(self._token, greets=False),
        }
        self._on_free = on_free
        self._command: SessionCommand | None = None
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._broken: BaseException | None = None
        self._spent = False
        with engine.errors(container):
            created = engine.api.exec_create(container, ["sh", "-c", SCRIPT], user=user, stdin=True)
            self._stream: EngineFile = engine.api.exec_stream(created["Id"])
            self._stream._sock.settimeout(None)
            self._stream._sock.sendall(greeting(self._token))
        self.exec_id: str = created["Id"]
        threading.Thread(target=self._read, name="session", daemon=True).start()
        if not wait_for(self._ready, _OPEN_WAIT) or self._broken is not None:
            self.close()
            raise NoSessionError(f"no resident shell in '{container}': {self._broken}")

    @property
    def is_usable(self) -> bool:
        """Whether the next command can be sent: the shell is there, and its stream clean."""
        return self._broken is None and not self._spent and not self._stream.closed

    def start(self, command: SessionCommand, text: bytes) -> None:
        """Send a request. Whatever goes wrong reaches the command.

        Args:
            command: takes the output and the end.
            text: of `protocol.request`.
        """
        self._command = command
        try:
            self._stream._sock.sendall(text)
        except (OSError, ContainerError) as error:
            self._break(error)

    def request(
        self,
        command: str | Sequence[str],
        cwd: str,
        environment: Mapping[str, str],
        stdin: bool,
    ) -> bytes | None:
        """See `protocol.request`."""
        return request(self._token, command, cwd, environment, stdin)

    def write(self, data: bytes) -> None:
        """Write to the stdin of the present command.

        What it leaves unread the next worker would read, so this is the shell's last command.
        """
        self._spent = True
        self._stream._sock.sendall(data)

    def close_stdin(self) -> None:
        """End the stdin of the present command; it is the shell's last one."""
        self._spent = True
        self._stream._sock.shutdown(1)

    def close(self) -> None:
        """End the shell: it and its worker end with the stream."""
        self._spent = True
        self._stream.close()
        self._stream._sock.shutdown(2)
        self._stream._sock.close()

    def _read(self) -> None:
        error: BaseException
        try:
            with self.engine.errors(self.container):
                for stream, data in read_frames(self._stream):
                    for piece in self._splitters[stream].feed(data):
                        self._take(stream, piece)
            error = EngineError("the resident shell ended.")
        except BaseException as raised:
            error = raised
        self._break(error)

    def _take(self, stream: int, piece: bytes | Mark) -> None:
        command = self._command
        if isinstance(piece, bytes):
            if command is not None:
                command.take(stream, piece)
            return
        kind, text = piece.text[:1], piece.text[1:]
        if kind == "+":
            self.pid = int(text)
            self._ready.set()
        elif command is None:
            return
        elif kind == ">":
            command.began(self.pid)
        elif kind == "!":
            command.has_folder = False
        elif kind == "-" and stream == STDERR:
            self._finish(command, None)
        elif kind == "-":
            code, left = text.split()
            self._spent = self._spent or left != "0"
            self._finish(command, int(code))
            command.left_processes = left != "0"

    def _finish(self, command: SessionCommand, code: int | None) -> None:
        """A command has ended when both of its streams have."""
        if not command.ended(code):
            return
        self._command = None
        if self._spent:
            self.close()
        else:
            self._on_free(self)
        command.finish(None)

    def _break(self, error: BaseException) -> None:
        with self._lock:
            if self._broken is not None:
                return
            self._broken = error
        self._spent = True
        self._ready.set()
        command, self._command = self._command, None
        if command is not None:
            command.finish(error)


class SessionCommand:
    """A command in a session, with what `Exec` offers.

    Args:
        session: that is free.
        text: the request, of `Session.request`.
        label: the command, for messages.
        cwd: its working directory, for messages.
        on_stdout: called with each piece of output, in a thread of the session.
        on_stderr: the same for stderr.
        poll: called now and then by who waits; what it raises ends the waiting.
        elapsed: seconds since the command was asked for.
        instead: starts the command through the engine, where the session could not take it.
    """

    def __init__(
        self,
        session: Session,
        text: bytes,
        label: str,
        cwd: str,
        on_stdout: Sink | None,
        on_stderr: Sink | None,
        poll: Callable[[], None] | None,
        elapsed: Callable[[], float],
        instead: Callable[[], Exec],
    ) -> None:
        self.exit_code: int | None = None
        self.refusal = ""
        self.oom_killed = False
        self.has_folder = True
        self.left_processes = False
        """It has ended, and processes that it started in the background have not."""
        self._session = session
        self._container = session.container
        self._label = label
        self._cwd = cwd
        self._sinks = {STDOUT: on_stdout, STDERR: on_stderr}
        self._poll = poll
        self._elapsed = elapsed
        self._instead = instead
        self._other: Exec | None = None
        self._pid = 0
        self._is_lost = False
        self._open_streams = 2
        self._finished = threading.Event()
        self._error: BaseException | None = None
        session.start(self, text)

    # --- as Exec ----------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """As `Exec.running`."""
        if self._other is not None:
            return self._other.running
        return not self._finished.is_set()

    def write(self, data: bytes) -> None:
        """As `Exec.write`."""
        (self._other or self._session).write(data)

    def close_stdin(self) -> None:
        """As `Exec.close_stdin`."""
        (self._other or self._session).close_stdin()

    def wait(self, timeout: float | None = None) -> bool:
        """As `Exec.wait`."""
        if not wait_for(self._finished, timeout, self._poll):
            return False
        if self._other is not None:
            ended = self._other.wait(timeout)
            self.exit_code, self.refusal = self._other.exit_code, self._other.refusal
            self.oom_killed = self._other.oom_killed
            return ended
        if self._error is not None:
            raise self._error
        return True

    def signal(self, number: int) -> None:
        """As `Exec.signal`."""
        if self._other is not None:
            self._other.signal(number)
        elif self.running:
            try:
                self._try_ways(
                    lambda leader: signal_leader(self._run_beside, self._container, leader, number),
                    lambda target: signal_group(target, number),
                )
            except KillError:
                if self.running:
                    raise

    def kill(self) -> None:
        """As `Exec.kill`."""
        if self._other is not None:
            self._other.kill()
            return
        try:
            bounded(self._session.engine.ping, _ANSWER_WAIT)  # a hung engine shows soon
            bounded(self._kill, 2 * _KILL_WAIT)
        except TimeoutError as error:
            raise KillError(self._session.container, 9, str(error)) from error

    def kill_soon(self) -> None:
        """As `Exec.kill_soon`."""

        def kill() -> None:
            try:
                self.kill()
            except ContainerError as error:
                self._session.engine.node.log.warning(str(error))

        threading.Thread(target=kill, name="session-kill", daemon=True).start()

    def host_pid(self) -> int:
        """As `Exec.host_pid`, but in the container."""
        if self._other is not None:
            return self._other.host_pid()
        return self._pid if self.running else 0

    # --- for the session --------------------------------------------------------------------------

    def began(self, pid: int) -> None:
        """The shell has the whole request: from here on the command may have run."""
        self._pid = pid

    def take(self, stream: int, data: bytes) -> None:
        """Some output."""
        sink = self._sinks[stream]
        if sink is not None:
            sink(data)

    def ended(self, code: int | None) -> bool:
        """One of the two streams ended; whether both have."""
        self._open_streams -= 1
        if code is not None:
            self.exit_code = code
        return self._open_streams == 0

    def finish(self, error: BaseException | None) -> None:
        """It has ended, or the session broke.

        Args:
            error: why it broke.
        """
        self._is_lost = error is not None and bool(self._pid)
        if error is None and self.exit_code != _KILLED and self.has_folder:
            self._finished.set()
            return
        # What is to be asked of the engine must not hold up the session's own thread.
        threading.Thread(target=self._find_out, args=(error,), name="session-end").start()

    # --- inner ------------------------------------------------------------------------------------

    def _find_out(self, error: BaseException | None) -> None:
        try:
            self._error = self._explained(error)
        except BaseException as raised:
            self._error = raised
        finally:
            self._finished.set()

    def _explained(self, error: BaseException | None) -> BaseException | None:
        session = self._session
        if error is not None and not self._pid:
            self._other = self._instead()  # it was never begun, so it may be begun elsewhere
            return None
        if not self.has_folder:
            return CommandNotStartedError(
                self._label,
                session.container,
                f"there is no working directory '{self._cwd}'. Make that first.",
            )
        if isinstance(error, SshLostError):
            return SshLostError(session.engine.name, error.cause)
        if error is not None and death_of(session.engine, session.container) is not None:
            # A container that is removed dies first: ask again when that is over.
            time.sleep(_SETTLE)
            died = death_of(session.engine, session.container)
            if died is not None:
                return died
        if self.exit_code == _KILLED or error is not None:
            try:
                self.oom_killed = was_out_of_memory(
                    session.engine, session.container, self._elapsed()
                )
            except ContainerDiedError:
                raise
            except EngineError as gone:  # the engine itself, and that is the news
                error = gone
            if self.oom_killed:
                self.exit_code = _KILLED
                return None
        if error is None:
            return None
        return EngineError(
            f"{error} Meanwhile '{self._label}' ran in '{session.container}', and may still run."
        )

    def _kill(self) -> None:
        # LISA closes the connection after each case: an attempt may be cut short by that, and a
        # command whose connection is lost still runs.
        for attempt in range(_KILL_TRIES):
            if not self.running and not self._is_lost:
                return
            try:
                self._try_ways(
                    lambda leader: kill_leader(
                        self._run_beside, self._container, leader, _KILL_WAIT
                    ),
                    lambda target: kill_session(target, _KILL_WAIT),
                )
                break
            except (KillError, EngineError):
                if attempt == _KILL_TRIES - 1 and (self.running or self._is_lost):
                    raise
                time.sleep(_SETTLE)
        self._finished.wait(_KILL_WAIT)

    def _try_ways(self, inside: Callable[[int], None], by_node: Callable[[Target], None]) -> None:
        """By the container's own shell, whose pid we know, or else by the ways `Exec` has."""
        if not self._pid:
            raise KillError(self._container, 9, "it has not begun")
        try:
            inside(self._pid)
        except KillError as error:
            target = self._target()
            if target is None:
                raise
            self._session.engine.node.log.debug(str(error))
            by_node(target)

    def _target(self) -> Target | None:
        """The worker as the node sees it: a child of the resident shell."""
        session = self._session
        with session.engine.errors(session.container):
            state = session.engine.api.exec_inspect(session.exec_id)
        shell = int(state.get("Pid") or 0)
        children = session.engine.node.execute(
            f"cat /proc/{shell}/task/{shell}/children", no_info_log=True, no_error_log=True
        ).stdout.split()
        if not children or not children[0].isdigit():
            return None
        return Target(
            session.engine,
            session.container,
            state["ContainerID"],
            int(children[0]),
            self._run_beside,
        )

    def _run_beside(self, argv: list[str], privileged: bool) -> int:
        session = self._session
        beside = Exec(
            session.engine,
            session.container,
            argv,
            user="0",
            privileged=privileged,
            start_timeout=_KILL_WAIT,
        )
        if not beside.wait(_KILL_WAIT) or beside.exit_code is None:
            raise EngineError(f"'{argv[0]}' does not end in container '{session.container}'")
        return beside.exit_code
