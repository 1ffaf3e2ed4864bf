"""Command in a resident shell."""

from __future__ import annotations

import socket
import threading
import time
from typing import Callable

from lisa_container.container.kills import kill_in_background
from lisa_container.container.request import CommandRequest, Sinks
from lisa_container.container.session.protocol import Mark, ProtocolError
from lisa_container.container.session.session import Session
from lisa_container.container.signals import (
    Target,
    kill_leader,
    kill_session,
    signal_group,
    signal_leader,
)
from lisa_container.engine.http.frames import STDERR, STDOUT
from lisa_container.engine.waiting import bounded, wait_for
from lisa_container.errors import (
    CommandNotStartedError,
    ContainerDiedError,
    EngineError,
    KillError,
    SshLostError,
)

# Length of one read, in seconds. Exceptions from outside (LISA's case timeout, Ctrl-C) arrive only
# between two reads.
_SLICE = 0.1
# Time limit, in seconds, for a killed command to end.
_KILL_WAIT = 10.0
# Time limit, in seconds, of an answer of the engine.
_ANSWER_WAIT = 5.0
# Seconds after a container's death in which the engine may still be removing it.
_SETTLE = 0.3
_KILL_TRIES = 10

_KILLED = 137  # 128 + SIGKILL


class SessionCommand:
    """Command in a resident shell; see `ContainerProcess`.

    Args:
        session: Session that the request was sent to.
        request: Command that was sent.
        sinks: Receivers of its output; called by the thread that reads.
        on_end: Called with the session when the command has ended, before `wait` returns.
        is_read: Whether a thread of this object reads the output; otherwise `wait` reads it.
        began: Time of the request (`time.monotonic`).
    """

    def __init__(
        self,
        session: Session,
        request: CommandRequest,
        sinks: Sinks,
        on_end: Callable[[Session], None],
        is_read: bool,
        began: float,
    ) -> None:
        """Start the thread that reads, if `is_read` is true."""
        self.exit_code: int | None = None
        self.refusal = ""
        self.oom_killed = False
        self.left_processes = False
        """Whether the command has ended and left processes in the background."""
        self.takes_stdin = False
        """False: the stdin of a request is a part of what the shell reads."""
        self._session = session
        self._request = request
        self._sinks = {STDOUT: sinks.stdout, STDERR: sinks.stderr}
        self._poll = sinks.poll
        self._began = began
        self._on_end = on_end
        self._pid = 0
        self._kills: int | None = None
        self._is_unsure = False
        self._has_folder = True
        self._is_being_killed = False
        self._open_streams = {STDOUT} if session.terminal else {STDOUT, STDERR}
        self._finished = threading.Event()
        self._error: BaseException | None = None
        self._is_read = is_read
        self._watched = session.host.watch(session.stream.hang_up)
        if is_read:
            threading.Thread(target=self._follow, name="session", daemon=True).start()

    @property
    def running(self) -> bool:
        """Whether the command runs, or some of its output has not arrived."""
        return not self._finished.is_set()

    def ends_within(self, seconds: float) -> bool:
        """Wait some seconds; return whether the command has ended and its output has arrived."""
        return self._finished.wait(seconds)

    def write(self, data: bytes) -> None:
        """Write to the command's stdin; see `Session.write`."""
        self._session.write(data)

    def close_stdin(self) -> None:
        """End the command's stdin; see `Session.close_stdin`."""
        self._session.close_stdin()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the command has ended; see `ContainerProcess.wait`."""
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
        """Send a signal to the command's process group; see `ContainerProcess.signal`."""
        if not self.running:
            return
        try:
            self._try_ways(
                lambda pid: signal_leader(self._run, self._session.host.name, pid, number),
                lambda target: signal_group(target, number),
            )
        except KillError:
            if self.running:
                raise

    def kill(self) -> None:
        """Kill the command and all its descendants; see `ContainerProcess.kill`."""
        self._is_being_killed = True
        try:
            # Fails early if the engine hangs.
            bounded(self._session.host.require_answer, _ANSWER_WAIT)
            bounded(self._kill, 2 * _KILL_WAIT)
        except TimeoutError as error:
            raise KillError(self._session.host.name, 9, str(error)) from error
        # Wait for the last output and the mark of the command's end.
        ended = self._finished.wait(_KILL_WAIT) if self._is_read else self._read(_KILL_WAIT)
        if not ended:
            self._session.close()

    def kill_soon(self) -> None:
        """Kill the command in the background; a failure is logged."""
        kill_in_background(self.kill, self._session.host.log)

    def host_pid(self) -> int:
        """Return the command's process id in the container; 0 if the command has ended."""
        if not self._is_read:
            self._read(_ANSWER_WAIT, until=lambda: self._pid)
        deadline = time.monotonic() + _ANSWER_WAIT
        while not self._pid and self.running and time.monotonic() < deadline:
            time.sleep(0.002)
        return self._pid if self.running else 0

    # --- reading ----------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Read to the end in a thread; set `_finished` in any case."""
        try:
            self._read(None)
        except BaseException as error:
            self._session.is_spent = True
            if self.running:
                self._error = error
                self._on_end(self._session)
                self._finished.set()

    def _read(
        self,
        timeout: float | None,
        poll: Callable[[], None] | None = None,
        until: Callable[[], object] = lambda: False,
    ) -> bool:
        """Read until the command ends or `until` is true; return False after the time limit."""
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
                # LISA's case timeout may interrupt within a mark; then the rest makes no sense.
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
            if self._session.terminal and not self._pid:
                continue  # the echo of the request
            sink = self._sinks[stream]
            if sink is not None:
                sink(piece)

    def _take(self, stream: int, mark: Mark) -> None:
        kind = mark.text[:1]
        if kind == ">" and not self._pid and stream == STDOUT:
            self._pid, self._kills = mark.pid(), mark.kills()
        elif mark.text == "!" and self._pid:
            self._has_folder = False
        elif kind == "-" and stream in self._open_streams:
            if stream == STDOUT:
                self.exit_code, left = mark.end()
                self.left_processes, self._is_unsure = left == 1, left == 2
                self._count_kills(mark.kills())
            self._open_streams.remove(stream)
        elif kind == "-":  # the worker was killed when the command had ended
            self._session.is_spent = True
        else:
            raise ProtocolError(mark.text)

    def _count_kills(self, count: int | None) -> None:
        if count is None or self._kills is None or count <= self._kills:
            return
        self.oom_killed = True
        self._session.host.note_kills(count)

    def _end(self, error: BaseException | None) -> None:
        """Set the result after the end of the command, or after the loss of its session."""
        session = self._session
        self._watched.end()
        # Background processes of the command may still write to the streams. A kill in another
        # thread may not have finished, and would hit the next command of this session.
        is_unfit = self.left_processes or self._is_unsure or self._is_being_killed
        if error is not None or is_unfit:
            session.is_spent = True
        try:
            self._error = self._explain(error)
        except BaseException as raised:
            self._error = raised
            if not isinstance(raised, Exception):
                raise
        finally:
            self._on_end(session)
            self._finished.set()

    def _explain(self, error: BaseException | None) -> BaseException | None:
        host = self._session.host
        if not self._has_folder:
            return CommandNotStartedError(
                self._request.text,
                host.name,
                f"there is no working directory '{self._request.cwd}'. Make that first.",
            )
        if isinstance(error, SshLostError):
            return host.lost(error)
        if error is not None and host.death() is not None:
            # During its removal a container looks dead at first: ask again afterwards.
            time.sleep(_SETTLE)
            died = host.death()
            if died is not None:
                return died
        if self.exit_code == _KILLED or error is not None:
            try:
                was_killed = host.was_out_of_memory(time.monotonic() - self._began)
            except ContainerDiedError:
                raise
            except EngineError as failure:  # the engine itself is gone, which matters more
                error = failure
            else:
                if self._kills is None or error is not None:
                    self.oom_killed = was_killed
                if self.oom_killed:
                    self.exit_code = _KILLED
                    return None
        if error is None:
            return None
        return EngineError(
            f"{error} Meanwhile '{self._request.text}' ran in '{host.name}', and may still run."
        )

    # --- killing ----------------------------------------------------------------------------------

    def _kill(self) -> None:
        # LISA closes the connection after each case, which may interrupt an attempt. The command
        # runs on without the connection, so try again.
        for attempt in range(_KILL_TRIES):
            if not self._may_run:
                return
            try:
                self._try_ways(
                    lambda pid: kill_leader(
                        self._run, self._session.host.name, pid, self._mark(pid), _KILL_WAIT
                    ),
                    lambda target: kill_session(target, _KILL_WAIT),
                )
                return
            except (KillError, EngineError) as error:
                has_survivors = isinstance(error, KillError) and bool(error.survivors)
                if has_survivors or (attempt == _KILL_TRIES - 1 and self._may_run):
                    raise
                time.sleep(_SETTLE)

    @property
    def _may_run(self) -> bool:
        return self.running or isinstance(self._error, SshLostError)

    def _try_ways(self, inside: Callable[[int], None], by_node: Callable[[Target], None]) -> None:
        """Send a signal from a shell in the container or, if that fails, from the node."""
        session = self._session
        pid = self._pid or self.host_pid()
        try:
            if not pid:
                raise KillError(session.host.name, 9, "it has not begun")
            inside(pid)
        except KillError as error:
            target = None if error.survivors else self._target()
            if target is None:
                raise
            session.host.log.debug(str(error))
            by_node(target)

    def _target(self) -> Target | None:
        """Return the resident shell's worker as the node sees it; None if it is gone."""
        session = self._session
        mark = self._mark(self._pid) if self._pid else ""
        return session.host.find_target(session.stream, self._run, mark)

    def _mark(self, pid: int) -> str:
        return f"{self._session.number}{pid}"

    def _run(self, argv: list[str], as_root: bool) -> tuple[int, bytes]:
        return self._session.host.run_helper(argv, "0" if as_root else self._session.user)
