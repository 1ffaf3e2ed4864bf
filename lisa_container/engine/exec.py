"""One command in a running container, through the engine's exec API."""

from __future__ import annotations

import re
import shlex
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from lisa_container.engine.client import Engine
from lisa_container.engine.frames import STDERR, STDOUT, read_frames
from lisa_container.engine.signals import Target, kill_session, signal_group
from lisa_container.engine.sockets import EngineFile
from lisa_container.engine.state import death_of, was_out_of_memory
from lisa_container.engine.waiting import bounded, wait_for
from lisa_container.errors import (
    CommandNotStartedError,
    ContainerDiedError,
    ContainerError,
    EngineError,
    EngineTimeoutError,
    KillError,
    SshLostError,
)

Sink = Callable[[bytes], None]

# How long (seconds) a killed command may take to disappear, and the engine to tell an exit code.
_KILL_WAIT = 10.0
# How long the engine may take to answer when all else waits for that, and when it would be good to
# know.
_ANSWER_WAIT, _LOOK_WAIT = 5.0, 1.0
# Until the engine gives up waiting for output when the command itself has ended. Docker waits 2 s
# for background processes that hold it (moby, daemon/monitor.go) and then closes it.
_DRAIN = 5.0
# How often (seconds) idle SSH connections are kept alive, as LISA does.
_KEEPALIVE = 30

# 128 + SIGKILL, which is what the kernel sends when a memory limit is reached, and when the
# container's first process dies.
_KILLED = 137

# Where a command could not be run, the engine says so on stdout, as if the command had written it.
# These are the first words of docker, and of crun through podman.
_REFUSALS = (b"OCI runtime exec failed", b"unable to find ", b"crun: ", b"runc: ")
# It is about the program itself: what a shell has the exit codes 127 and 126 for (docker-run(1)).
_ABOUT_PROGRAM = re.compile(r'exec: "|exec /|executable file')
_NOT_FOUND = ("executable file not found", "no such file or directory")
_CODE_NOT_RUN, _CODE_NOT_FOUND = 126, 127
_NO_FOLDER, _NO_USER = "chdir to cwd", "no matching entries in"


class Exec:
    """A command started in a container. Output goes to the sinks as it comes.

    All talk with the engine happens in a thread of this object: whoever waits does so in slices,
    and may be interrupted, however the engine behaves.

    Args:
        engine: of the node.
        container: id or name.
        argv: the program and its arguments; no shell is involved.
        cwd: working directory in the container; the container's own by default.
        environment: added to the container's.
        user: `name`, `uid` or `uid:gid`; the container's own by default.
        privileged: give the command all capabilities.
        stdin: whether the command gets a stdin to write to; without one it reads end-of-file.
        on_stdout: called with each piece of output, in a thread of this object.
        on_stderr: the same for stderr.
        start_timeout: seconds the engine may take to start it; None: as long as it answers at all.
        poll: called now and then by who waits; what it raises ends the waiting.

    Raises:
        ContainerDiedError: the container is not running.
        EngineTimeoutError: the engine did not start it in time.
        EngineError: the engine refused.
    """

    def __init__(
        self,
        engine: Engine,
        container: str,
        argv: Sequence[str],
        cwd: str = "",
        environment: Mapping[str, str] | None = None,
        user: str = "",
        privileged: bool = False,
        stdin: bool = False,
        on_stdout: Sink | None = None,
        on_stderr: Sink | None = None,
        start_timeout: float | None = None,
        poll: Callable[[], None] | None = None,
    ) -> None:
        self.exit_code: int | None = None
        self.refusal = ""
        """What the engine said where there is no such program, or it may not be executed."""
        self.oom_killed = False
        """It was killed because the container's memory limit was reached."""
        self.left_processes = False
        """Whether it left processes in the background; the engine does not tell."""
        self._engine = engine
        self._container = container
        self._argv = list(argv)
        self._options: dict[str, Any] = {
            "workdir": cwd or None,
            "environment": dict(environment or {}),
            "user": user,
            "privileged": privileged,
            "stdin": stdin,
        }
        self._sinks: dict[int, Sink | None] = {STDOUT: on_stdout, STDERR: on_stderr}
        self._poll = poll
        self._began = time.monotonic()
        self._id = ""
        self._stream: EngineFile | None = None
        self._ready = threading.Event()
        self._finished = threading.Event()
        self._abandoned = False
        self._error: BaseException | None = None
        threading.Thread(target=self._work, name="exec", daemon=True).start()
        try:
            if not wait_for(self._ready, start_timeout, poll):
                raise EngineTimeoutError(engine.name, "start a command", start_timeout or 0.0)
        except BaseException:
            self._abandon()
            raise
        if self._stream is None and self._error is not None:
            raise self._error

    @property
    def running(self) -> bool:
        """Whether it still runs (or its output is still coming)."""
        return not self._finished.is_set()

    def ends_within(self, seconds: float) -> bool:
        """Wait a little; whether it ended, its output included.

        Args:
            seconds: how long.
        """
        return self._finished.wait(seconds)

    def write(self, data: bytes) -> None:
        """Write to the command's stdin; only with `stdin=True`.

        Raises:
            OSError: the command has ended, or its stdin.
        """
        assert self._stream is not None
        self._stream._sock.sendall(data)

    def close_stdin(self) -> None:
        """End the command's stdin."""
        assert self._stream is not None
        self._stream._sock.shutdown(1)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the command ended and its output was passed on.

        Args:
            timeout: seconds; None waits for ever.

        Returns:
            False when the time was up first.

        Raises:
            CommandNotStartedError: it was never run, for another reason than the program itself.
            ContainerDiedError: the container died below the command.
            SshLostError: the connection broke; the command may still run.
            EngineError: the engine failed.
        """
        if not wait_for(self._finished, timeout, self._poll) and not self._is_draining():
            return False
        if self._error is not None:
            raise self._error
        return True

    def signal(self, number: int) -> None:
        """Send a signal to the command's whole process group; harmless when it has ended.

        Args:
            number: signal number, signal(7).

        Raises:
            KillError: no way to do it worked.
        """
        target = self._target()
        if target is None:
            return
        try:
            signal_group(target, number)
        except KillError:
            if self.host_pid():
                raise

    def kill(self) -> None:
        """Kill the command's process group, and all else in its session, and see them gone.

        Raises:
            KillError: something of it is still there, or nobody can tell.
        """
        try:
            bounded(self.host_pid, _ANSWER_WAIT)  # a hung engine shows soon
            bounded(self._kill, 2 * _KILL_WAIT)
        except TimeoutError as error:
            raise KillError(self._container, 9, str(error)) from error

    def kill_soon(self) -> None:
        """Kill it as `kill` does, but in the background; where that fails the log says so."""

        def kill() -> None:
            try:
                self.kill()
            except ContainerError as error:
                self._engine.node.log.warning(str(error))

        threading.Thread(target=kill, name="exec-kill", daemon=True).start()

    def host_pid(self) -> int:
        """The process id on the node; 0 once it ended."""
        target = self._target()
        return target.host_pid if target is not None else 0

    def _kill(self) -> None:
        target = self._target()
        if target is not None:
            try:
                kill_session(target, _KILL_WAIT)
            except KillError:
                if self.host_pid():
                    raise
            # What it wrote last is on its way.
            self._finished.wait(_DRAIN)

    def _target(self) -> Target | None:
        """The running command, or None once it ended."""
        deadline = time.monotonic() + _ANSWER_WAIT
        while not self._finished.is_set() and self._id:
            try:
                state = self._inspect()
            except SshLostError as error:
                raise KillError(self._container, 9, str(error)) from error
            except EngineError:
                return None  # engine or container are gone, and the command with them
            if not state.get("Running"):
                return None
            # The engine says "running" a little before there is a process.
            pid = int(state.get("Pid") or 0)
            if pid:
                container = str(state["ContainerID"])
                return Target(self._engine, self._container, container, pid, self._run_beside)
            if time.monotonic() > deadline:
                raise KillError(self._container, 9, "the engine has not yet started it")
            time.sleep(0.005)
        return None

    def _run_beside(self, argv: list[str], privileged: bool) -> int:
        return run_beside(self._engine, self._container, argv, privileged)

    def _is_draining(self) -> bool:
        """Whether the command itself has ended and the engine only waited for more output."""
        try:
            if bounded(self._inspect, _LOOK_WAIT).get("Running"):
                return False
        except (EngineError, TimeoutError):
            return False
        return wait_for(self._finished, _DRAIN, self._poll)

    def _abandon(self) -> None:
        """Nobody waits any more for the start of this: should it happen, kill it."""
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
            self._read()
            self.exit_code = self._exit_code()
        except BaseException as error:  # passed on to whoever waits
            self._error = self._explained(error)
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
            created = self._engine.api.exec_create(self._container, self._argv, **self._options)
            stream = self._engine.api.exec_stream(created["Id"])
            stream._sock.settimeout(None)
        self._id, self._stream = created["Id"], stream

    def _read(self) -> None:
        assert self._stream is not None
        held = b""  # the first piece, where it looks like a refusal
        is_first = True
        with self._engine.errors(self._container):
            for number, data in read_frames(self._stream):
                if is_first and data.startswith(_REFUSALS):
                    held = data
                elif held:
                    self._pass_on(STDOUT, held)  # the engine would have said no more
                    held = b""
                if not held:
                    self._pass_on(number, data)
                is_first = False
            if held:
                self._understand(held)

    def _pass_on(self, number: int, data: bytes) -> None:
        sink = self._sinks.get(number)
        if sink is not None:
            sink(data)

    def _understand(self, held: bytes) -> None:
        if self._inspect().get("Pid"):
            self._pass_on(STDOUT, held)  # the command ran, and wrote that itself
            return
        said = held.decode("utf-8", errors="replace").strip()
        if not _ABOUT_PROGRAM.search(said):
            self._survived_container()
            raise self._not_started(said)
        self.refusal = said
        self._pass_on(STDERR, held)

    def _not_started(self, said: str) -> CommandNotStartedError:
        hint = "The engine's documentation of 'exec' may tell more."
        if _NO_FOLDER in said:
            hint = f"Its working directory is '{self._options['workdir']}': make that first."
        elif _NO_USER in said:
            hint = f"The image does not know the user '{self._options['user']}'; a number will do."
        command = shlex.join(self._argv)
        return CommandNotStartedError(command, self._container, f"{said}. {hint}")

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
        if exit_code == _KILLED:
            self.oom_killed = self._survived_container()
        if self.refusal and exit_code == _CODE_NOT_RUN:
            lower = self.refusal.lower()
            return _CODE_NOT_FOUND if any(x in lower for x in _NOT_FOUND) else _CODE_NOT_RUN
        return exit_code

    def _survived_container(self) -> bool:
        """Raise if the container died meanwhile; whether its memory limit was reached."""
        elapsed = time.monotonic() - self._began
        return was_out_of_memory(self._engine, self._container, elapsed)

    def _inspect(self) -> dict[str, Any]:
        with self._engine.errors(self._container):
            return dict(self._engine.api.exec_inspect(self._id))

    def _explained(self, error: BaseException) -> BaseException:
        if isinstance(error, SshLostError):
            return SshLostError(self._engine.name, error.cause)
        if isinstance(error, ContainerDiedError) or not isinstance(error, EngineError):
            return error
        if _NO_USER in str(error):  # newer engines say so before they start anything
            return self._not_started(str(error))
        died = death_of(self._engine, self._container)
        if died is not None:
            return died
        if self._id:
            return EngineError(f"{error} A command that ran in '{self._container}' may still run.")
        return error


def run_beside(engine: Engine, container: str, argv: Sequence[str], privileged: bool) -> int:
    """Run a program beside the commands of a container, as root; its exit code.

    Args:
        engine: of the node.
        container: name or id.
        argv: the program and its arguments.
        privileged: with all capabilities.

    Raises:
        EngineError: the engine failed, or the program does not end.
        CommandNotStartedError: see `Exec`.
    """
    beside = Exec(
        engine, container, argv, user="0", privileged=privileged, start_timeout=_KILL_WAIT
    )
    if not beside.wait(_KILL_WAIT) or beside.exit_code is None:
        raise EngineError(f"'{argv[0]}' does not end in container '{container}'")
    return beside.exit_code
