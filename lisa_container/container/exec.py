"""One command in a running container, through the engine's exec API."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from lisa_container.container.kills import kill_in_background
from lisa_container.container.limited_output import LimitedOutput
from lisa_container.container.login import DETACH_KEYS, TERMINAL_SIZE
from lisa_container.container.request import CommandRequest, Sink, Sinks
from lisa_container.container.signals import Target, kill_session, new_number, signal_group
from lisa_container.container.state import (
    death_of,
    late_start,
    was_kill_counted,
    was_out_of_memory,
)
from lisa_container.engine.client import Engine
from lisa_container.engine.containerd import is_lost
from lisa_container.engine.http.frames import STDERR, STDOUT, read_frames
from lisa_container.engine.sockets import EngineFile
from lisa_container.engine.waiting import bounded, wait_for
from lisa_container.errors import (
    CommandNotStartedError,
    ConfigError,
    ContainerDiedError,
    EngineError,
    KillError,
    SshLostError,
)

_NO_SINKS = Sinks()

# Time limit, in seconds, for a killed command to end and for the engine to report an exit code.
_KILL_WAIT = 10.0
# Time limits, in seconds, of an answer of the engine: where a kill waits for it, and where it is
# only useful to know.
_ANSWER_WAIT, _LOOK_WAIT = 5.0, 1.0
# Time limit, in seconds, for the end of the output after the end of the command. Docker waits 2 s
# for background processes that hold the output (moby, daemon/monitor.go) and then closes it.
_DRAIN = 5.0
# Largest size, in bytes, of the output of a program that runs beside a command.
_MOST_OUTPUT = 4096
# Seconds between keepalives on an idle SSH connection, as LISA has it.
_KEEPALIVE = 30

# 128 + SIGKILL. The kernel sends SIGKILL when a memory limit is reached, and when the container's
# first process dies.
_KILLED = 137

# If a command could not be run, the engine writes its message to the command's stdout. These are
# the first words of docker's messages, of its containerd client's, and of crun's through podman.
_REFUSALS = (
    *(b"OCI runtime exec failed", b"unable to find ", b"crun: ", b"runc: "),
    *(b"connection error: desc = ", b"connection closed: unavailable"),
)
# A message about the program itself: a shell has the exit codes 127 and 126 for it (docker-run(1)).
_ABOUT_PROGRAM = re.compile(r'exec: "|exec /|executable file')
_NOT_FOUND = ("executable file not found", "no such file or directory")
_CODE_NOT_RUN, _CODE_NOT_FOUND = 126, 127
_NO_FOLDER, _NO_USER = "chdir to cwd", "no matching entries in"


class Exec:
    """Command that the engine's exec starts in a container; see `ContainerProcess`.

    A thread of this object makes all requests to the engine. So a caller that waits can be
    interrupted at any time, even if the engine hangs.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.
        request: Command to run.
        sinks: Receivers of its output; called in the thread of this object.
        has_mark: Whether the container's shell marks a string's processes. A shell that cannot be
            a resident shell would change the environment, too.

    Raises:
        ContainerDiedError: The container does not run.
        EngineTimeoutError: The engine did not start the command in time.
        EngineError: The engine refused.
    """

    def __init__(
        self,
        engine: Engine,
        container: str,
        request: CommandRequest,
        sinks: Sinks = _NO_SINKS,
        has_mark: bool = True,
    ) -> None:
        """Start the command."""
        self.exit_code: int | None = None
        self.refusal = ""
        """Message of the engine if the program does not exist or cannot be executed."""
        self.oom_killed = False
        """Whether the kernel killed a process of the command at the container's memory limit."""
        self.left_processes = False
        """False: the engine does not report processes left in the background."""
        self.takes_stdin = request.stdin is not None
        self._engine = engine
        self._container = container
        self._request = request
        self._mark = str(new_number()) if has_mark and request.needs_shell else ""
        self._argv, environment = request.argv(self._mark), request.exec_environment
        _check_text("command", self._argv)
        _check_text("cwd", [request.cwd])
        _check_text("user", [request.user])
        _check_text("environment", [*environment, *environment.values()])
        self._sinks: dict[int, Sink | None] = {STDOUT: sinks.stdout, STDERR: sinks.stderr}
        self._poll = sinks.poll
        self._began = time.monotonic()
        self._id = ""
        self._stream: EngineFile | None = None
        self._ready = threading.Event()
        self._finished = threading.Event()
        self._abandoned = False
        self._error: BaseException | None = None
        threading.Thread(target=self._work, name="exec", daemon=True).start()
        try:
            if not wait_for(self._ready, request.start_timeout, sinks.poll):
                raise late_start(engine, container, request.start_timeout or 0.0)
        except BaseException:
            self._abandon()
            raise
        if self._stream is None and self._error is not None:
            raise self._error

    @property
    def running(self) -> bool:
        """Whether the command runs, or its output is still coming."""
        return not self._finished.is_set()

    def ends_within(self, seconds: float) -> bool:
        """Wait some seconds; return whether the command has ended, its output included."""
        return self._finished.wait(seconds)

    def write(self, data: bytes) -> None:
        """Write to the command's stdin, if the request has one.

        Raises:
            OSError: The command or its stdin has ended.
        """
        assert self._stream is not None
        self._stream._sock.sendall(data)

    def close_stdin(self) -> None:
        """End the command's stdin."""
        assert self._stream is not None
        self._stream._sock.shutdown(1)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the command has ended; see `ContainerProcess.wait`."""
        if not wait_for(self._finished, timeout, self._poll) and not self._is_draining():
            return False
        if self._error is not None:
            raise self._error
        return True

    def signal(self, number: int) -> None:
        """Send a signal to the command's process group; see `ContainerProcess.signal`."""
        target = self._target()
        if target is None:
            return
        try:
            signal_group(target, number)
        except KillError:
            if self.host_pid():
                raise

    def kill(self) -> None:
        """Kill the command and all its descendants; see `ContainerProcess.kill`."""
        try:
            bounded(self.host_pid, _ANSWER_WAIT)  # a hung engine shows soon
            bounded(self._kill, 2 * _KILL_WAIT)
        except TimeoutError as error:
            raise KillError(self._container, 9, str(error)) from error

    def kill_soon(self) -> None:
        """Kill the command in the background; a failure is logged."""
        kill_in_background(self.kill, self._engine.node.log)

    def host_pid(self) -> int:
        """Return the command's process id on the node; 0 if the command has ended."""
        target = self._target()
        return target.host_pid if target is not None else 0

    def _kill(self) -> None:
        target = self._target()
        if target is not None:
            try:
                kill_session(target, _KILL_WAIT)
            except KillError as error:
                if error.survivors or self.host_pid():
                    raise
            # The last output is still coming.
            self._finished.wait(_DRAIN)

    def _target(self) -> Target | None:
        """Return the running command as a target of signals, or None if it has ended."""
        deadline = time.monotonic() + _ANSWER_WAIT
        while not self._finished.is_set() and self._id:
            try:
                state = self._inspect()
            except SshLostError as error:
                raise KillError(self._container, 9, str(error)) from error
            except EngineError:
                return None  # the engine or the container is gone, and so is the command
            if not state.get("Running"):
                return None
            # The engine reports "running" a moment before the process exists.
            pid = int(state.get("Pid") or 0)
            if pid:
                container = str(state["ContainerID"])
                return Target(self._engine, self._container, container, pid, self._run, self._mark)
            if time.monotonic() > deadline:
                raise KillError(self._container, 9, "the engine has not yet started it")
            time.sleep(0.005)
        return None

    def _run(self, argv: list[str], as_root: bool) -> tuple[int, bytes]:
        user = "0" if as_root else self._request.user
        return run_helper(self._engine, self._container, argv, user)

    def _is_draining(self) -> bool:
        """Return whether the command has ended while the engine waited for more output."""
        try:
            if bounded(self._inspect, _LOOK_WAIT).get("Running"):
                return False
        except (EngineError, TimeoutError):
            return False
        return wait_for(self._finished, _DRAIN, self._poll)

    def _abandon(self) -> None:
        """Kill the command if it starts after the caller has stopped waiting for the start."""
        self._abandoned = True
        if self._ready.is_set():
            self.kill_soon()

    # --- in the thread ----------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._start()
            self._ready.set()
            if self._abandoned:
                self.kill_soon()
            with self._engine.deaths.watch(self._container, self._hang_up):
                self._read()
            self.exit_code = self._exit_code()
        except BaseException as error:  # raised in the waiting thread
            self._error = self._explain(error)
        finally:
            if self._stream is not None:
                self._stream.close()
                self._stream._sock.close()
            self._finished.set()
            self._ready.set()

    def _start(self) -> None:
        connection = self._engine.dialer.keepalive_target()
        if connection is not None:
            connection.set_keepalive(_KEEPALIVE)
        with self._engine.errors(self._container):
            request = self._request
            created = self._engine.api.exec_create(
                self._container,
                self._argv,
                workdir=request.cwd or None,
                environment=request.exec_environment,
                user=request.user,
                privileged=request.privileged,
                stdin=request.has_stdin,
                tty=request.terminal,
                detach_keys=DETACH_KEYS if request.terminal else None,
            )
            stream = self._engine.api.exec_stream(created["Id"], request.terminal)
            stream._sock.settimeout(None)
        self._id, self._stream = created["Id"], stream
        if request.terminal:
            threading.Thread(target=self._set_size, name="size", daemon=True).start()

    def _set_size(self) -> None:
        """Set the terminal's size; the engine waits ten seconds if the command cannot start."""
        with contextlib.suppress(Exception):
            self._engine.api.exec_resize(self._id, *TERMINAL_SIZE)

    def _read(self) -> None:
        assert self._stream is not None
        held = b""  # the first piece, if it looks like a refusal
        is_first = True
        with self._engine.errors(self._container):
            for number, data in read_frames(self._stream, self._request.terminal):
                if is_first and data.startswith(_REFUSALS):
                    held = data
                elif held:
                    self._pass_on(STDOUT, held)  # after a refusal nothing more comes
                    held = b""
                if not held:
                    self._pass_on(number, data)
                is_first = False
            if held:
                self._handle_refusal(held)

    def _hang_up(self) -> None:
        """End the stream of a dead container; some engines do not end it."""
        assert self._stream is not None
        self._stream._sock.shutdown(socket.SHUT_RDWR)

    def _pass_on(self, number: int, data: bytes) -> None:
        sink = self._sinks.get(number)
        if sink is not None:
            sink(data)

    def _handle_refusal(self, held: bytes) -> None:
        """Handle output that looks like the engine's message about a command it could not run."""
        if self._inspect().get("Pid"):
            self._pass_on(STDOUT, held)  # the command ran and wrote it
            return
        message = held.decode("utf-8", errors="replace").strip()
        if not _ABOUT_PROGRAM.search(message):
            self._check_death()
            raise self._not_started(message)
        self.refusal = message
        self._pass_on(STDERR, held)

    def _not_started(self, message: str) -> CommandNotStartedError:
        hint = "The engine's documentation of 'exec' may tell more."
        if _NO_FOLDER in message:
            hint = f"Its working directory is '{self._request.cwd}': make that first."
        elif is_lost(message):
            hint = "Docker has lost its containerd, and starts it again in some ten seconds."
        elif _NO_USER in message:
            hint = f"The image does not know the user '{self._request.user}'; a number will do."
        return CommandNotStartedError(self._request.text, self._container, f"{message}. {hint}")

    def _exit_code(self) -> int:
        deadline = time.monotonic() + _KILL_WAIT
        while True:
            state = self._inspect()
            if not state["Running"] and state["ExitCode"] is not None:
                break
            if time.monotonic() > deadline:
                raise EngineError(
                    f"the engine of node '{self._engine.name}' closed the output of a command in "
                    f"container '{self._container}'"
                )
            time.sleep(0.005)
        exit_code = int(state["ExitCode"])
        elapsed = time.monotonic() - self._began
        if exit_code == _KILLED:
            self.oom_killed = self._check_death()
        else:
            self.oom_killed = was_kill_counted(self._engine, self._container, elapsed)
        if self.refusal and exit_code == _CODE_NOT_RUN:
            lower = self.refusal.lower()
            return _CODE_NOT_FOUND if any(x in lower for x in _NOT_FOUND) else _CODE_NOT_RUN
        return exit_code

    def _check_death(self) -> bool:
        """Return whether the memory limit was reached; raise if the container died meanwhile."""
        elapsed = time.monotonic() - self._began
        return was_out_of_memory(self._engine, self._container, elapsed)

    def _inspect(self) -> dict[str, Any]:
        with self._engine.errors(self._container):
            return dict(self._engine.api.exec_inspect(self._id))

    def _explain(self, error: BaseException) -> BaseException:
        if isinstance(error, SshLostError):
            return SshLostError(self._engine.name, error.cause)
        if isinstance(error, ContainerDiedError) or not isinstance(error, EngineError):
            return error
        if _NO_USER in str(error):  # newer engines report it before they start anything
            return self._not_started(str(error))
        died = death_of(self._engine, self._container)
        if died is not None:
            return died
        if self._id:
            return EngineError(f"{error} A command that ran in '{self._container}' may still run.")
        return error


def _check_text(name: str, words: Iterable[str]) -> None:
    """Raise ConfigError for bytes that are not UTF-8: the API's JSON would replace them."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise ConfigError(
                f"{name}: given {word!r}, which is not UTF-8, and so cannot go through the "
                "engine's API; legal there: text. A short command without a stdin goes "
                "another way, if the container has a shell"
            ) from error


def run_helper(engine: Engine, container: str, argv: Sequence[str], user: str) -> tuple[int, bytes]:
    """Run a short program in a container; return its exit code and its output's beginning.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.
        argv: Program and arguments.
        user: User who runs the program; the container's own if empty.

    Raises:
        EngineError: The engine failed, or the program does not end.
        CommandNotStartedError: See `ContainerProcess.wait`.
    """
    request = CommandRequest(argv, user=user, start_timeout=_KILL_WAIT)
    output = LimitedOutput(_MOST_OUTPUT)
    helper = Exec(engine, container, request, Sinks(output.add))
    if not helper.wait(_KILL_WAIT) or helper.exit_code is None:
        raise EngineError(f"'{argv[0]}' does not end in container '{container}'")
    return helper.exit_code, output.data
