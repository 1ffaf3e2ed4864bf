"""A command in a resident shell."""

from __future__ import annotations

import socket
import threading
import time
from typing import Callable

from lisa_container.engine.exec import Sink, run_beside
from lisa_container.engine.frames import STDERR, STDOUT
from lisa_container.engine.signals import (
    Target,
    kill_leader,
    kill_session,
    signal_group,
    signal_leader,
)
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
from lisa_container.session.protocol import Mark
from lisa_container.session.session import Session

# Reading happens in slices this long (seconds), so that LISA's case timeout and Ctrl-C, which come
# as exceptions between two steps of Python, get through at once.
_SLICE = 0.1
# How long (seconds) a killed command may take to disappear.
_KILL_WAIT = 10.0
# How long the engine may take to answer when all else waits for that.
_ANSWER_WAIT = 5.0
# How long (seconds) after a container's death the engine may still be removing it.
_SETTLE = 0.3
_KILL_TRIES = 10

_KILLED = 137  # 128 + SIGKILL


class SessionCommand:
    """A command in a session, with what `Exec` offers.

    Args:
        session: to which the request was sent.
        label: the command, for messages.
        cwd: its working directory, for messages.
        on_stdout: called with each piece of output, by whoever reads.
        on_stderr: the same for stderr.
        poll: called now and then by who waits; what it raises ends the waiting.
        began: when the command was asked for (`time.monotonic`).
        on_end: called with the session when the command has ended, before anybody is told.
        is_read: a thread of its own reads, from now on; otherwise whoever waits does.
    """

    def __init__(
        self,
        session: Session,
        label: str,
        cwd: str,
        on_stdout: Sink | None,
        on_stderr: Sink | None,
        poll: Callable[[], None] | None,
        began: float,
        on_end: Callable[[Session], None],
        is_read: bool,
    ) -> None:
        self.exit_code: int | None = None
        self.refusal = ""
        self.oom_killed = False
        self.left_processes = False
        """It has ended, and processes that it started in the background have not."""
        self._session = session
        self._label = label
        self._cwd = cwd
        self._sinks = {STDOUT: on_stdout, STDERR: on_stderr}
        self._poll = poll
        self._began = began
        self._on_end = on_end
        self._pid = 0
        self._has_folder = True
        self._is_being_killed = False
        self._open_streams = {STDOUT, STDERR}
        self._finished = threading.Event()
        self._error: BaseException | None = None
        self._is_read = is_read
        if is_read:
            threading.Thread(target=self._read, args=(None,), name="session", daemon=True).start()

    @property
    def running(self) -> bool:
        """As `Exec.running`."""
        return not self._finished.is_set()

    def ends_within(self, seconds: float) -> bool:
        """As `Exec.ends_within`."""
        return self._finished.wait(seconds)

    def write(self, data: bytes) -> None:
        """As `Exec.write`."""
        self._session.write(data)

    def close_stdin(self) -> None:
        """As `Exec.close_stdin`."""
        self._session.close_stdin()

    def wait(self, timeout: float | None = None) -> bool:
        """As `Exec.wait`."""
        if self._is_read:
            ended = wait_for(self._finished, timeout, self._poll)
        else:
            ended = self._read(timeout, self._poll)
        if not ended:
            return False
        if self._error is not None:
            raise self._error
        return True

    def signal(self, number: int) -> None:
        """As `Exec.signal`."""
        if not self.running:
            return
        try:
            self._try_ways(
                lambda pid: signal_leader(self._run, self._session.container, pid, number),
                lambda target: signal_group(target, number),
            )
        except KillError:
            if self.running:
                raise

    def kill(self) -> None:
        """As `Exec.kill`."""
        self._is_being_killed = True
        try:
            bounded(self._session.engine.ping, _ANSWER_WAIT)  # a hung engine shows soon
            bounded(self._kill, 2 * _KILL_WAIT)
        except TimeoutError as error:
            raise KillError(self._session.container, 9, str(error)) from error
        # What it wrote last, and its end, are on their way.
        ended = self._finished.wait(_KILL_WAIT) if self._is_read else self._read(_KILL_WAIT)
        if not ended:
            self._session.close()

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
        if not self._is_read:
            self._read(_ANSWER_WAIT, until=lambda: self._pid)
        deadline = time.monotonic() + _ANSWER_WAIT
        while not self._pid and self.running and time.monotonic() < deadline:
            time.sleep(0.002)
        return self._pid if self.running else 0

    # --- reading ----------------------------------------------------------------------------------

    def _read(
        self,
        timeout: float | None,
        poll: Callable[[], None] | None = None,
        until: Callable[[], object] = lambda: False,
    ) -> bool:
        """Read to the command's end, or until something is so; whether that came in time."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.running and not until():
            left = _SLICE if deadline is None else min(_SLICE, deadline - time.monotonic())
            try:
                self._read_some(max(0.001, left))
            except socket.timeout:
                pass
            except EngineError as error:
                self._end(error)
            except BaseException:
                # LISA's case timeout, in the middle of a mark perhaps: what comes means nothing.
                self._session.is_spent = True
                raise
            else:
                if not self._open_streams:
                    self._end(None)
                    break
            if deadline is not None and time.monotonic() >= deadline:
                return not self.running
            if poll is not None:
                poll()
        return True

    def _read_some(self, timeout: float) -> None:
        for stream, piece in self._session.read(timeout):
            if isinstance(piece, Mark):
                self._take(stream, piece)
                continue
            sink = self._sinks[stream]
            if sink is not None:
                sink(piece)

    def _take(self, stream: int, mark: Mark) -> None:
        kind, text = mark.text[:1], mark.text[1:]
        if kind == ">":
            self._pid = int(text)
        elif kind == "!":
            self._has_folder = False
        elif kind == "-" and stream in self._open_streams:
            self._open_streams.remove(stream)
            if stream == STDOUT:
                code, left = text.split()
                self.exit_code, self.left_processes = int(code), left != "0"
        else:  # somebody killed the worker when the command had ended
            self._session.is_spent = True

    def _end(self, error: BaseException | None) -> None:
        """It has ended, or the session broke."""
        session = self._session
        # Those that it left may write to the streams later; and a kill that came too late for it
        # hits the worker that waits for the next one.
        is_missed = self._is_being_killed and self.exit_code != _KILLED
        if error is not None or self.left_processes or is_missed:
            session.is_spent = True
        try:
            self._error = self._explained(error)
        except BaseException as raised:
            self._error = raised
            if not isinstance(raised, Exception):
                raise
        finally:
            self._on_end(session)
            self._finished.set()

    def _explained(self, error: BaseException | None) -> BaseException | None:
        engine, container = self._session.engine, self._session.container
        if not self._has_folder:
            return CommandNotStartedError(
                self._label,
                container,
                f"there is no working directory '{self._cwd}'. Make that first.",
            )
        if isinstance(error, SshLostError):
            return SshLostError(engine.name, error.cause)
        if error is not None and death_of(engine, container) is not None:
            # A container that is removed dies first: ask again when that is over.
            time.sleep(_SETTLE)
            died = death_of(engine, container)
            if died is not None:
                return died
        if self.exit_code == _KILLED or error is not None:
            try:
                elapsed = time.monotonic() - self._began
                self.oom_killed = was_out_of_memory(engine, container, elapsed)
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
            f"{error} Meanwhile '{self._label}' ran in '{container}', and may still run."
        )

    # --- killing ----------------------------------------------------------------------------------

    def _kill(self) -> None:
        # LISA closes the connection after each case: an attempt may be cut short by that, and a
        # command whose connection is lost still runs.
        for attempt in range(_KILL_TRIES):
            if not self._may_run:
                return
            try:
                self._try_ways(
                    lambda pid: kill_leader(self._run, self._session.container, pid, _KILL_WAIT),
                    lambda target: kill_session(target, _KILL_WAIT),
                )
                return
            except (KillError, EngineError):
                if attempt == _KILL_TRIES - 1 and self._may_run:
                    raise
                time.sleep(_SETTLE)

    @property
    def _may_run(self) -> bool:
        return self.running or isinstance(self._error, SshLostError)

    def _try_ways(self, inside: Callable[[int], None], by_node: Callable[[Target], None]) -> None:
        """By the container's own shell, or else by the ways `Exec` has."""
        session = self._session
        pid = self._pid or self.host_pid()
        try:
            if not pid:
                raise KillError(session.container, 9, "it has not begun")
            inside(pid)
        except KillError as error:
            target = self._target()
            if target is None:
                raise
            session.engine.node.log.debug(str(error))
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
            session.engine, session.container, state["ContainerID"], int(children[0]), self._run
        )

    def _run(self, argv: list[str], privileged: bool) -> int:
        return run_beside(self._session.engine, self._session.container, argv, privileged)
