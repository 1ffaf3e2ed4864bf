"""A command in a container while it runs, and its result."""

from __future__ import annotations

import functools
import io
import shlex
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import IO, Any, Callable, Union

from lisa.util.process import ExecutableResult

from lisa_container import interrupt
from lisa_container.capture.commands import CommandCapture
from lisa_container.capture.commands.capture import STDERR, STDOUT
from lisa_container.capture.container import ContainerCapture
from lisa_container.capture.normalise import RuleSet
from lisa_container.capture.snapshot import assert_output_matches
from lisa_container.engine.client import Engine
from lisa_container.engine.exec import Exec
from lisa_container.errors import (
    CommandNotStartedError,
    CommandTimeoutError,
    ConfigError,
    ContainerError,
    InterruptedRunError,
    SnapshotError,
)
from lisa_container.output import Output
from lisa_container.session import SessionPool
from lisa_container.session.command import SessionCommand
from lisa_container.session.protocol import LONGEST_STDIN, Options

Command = Union[str, Sequence[str]]
Stdin = Union[bytes, str, IO[bytes], None]

_STDIN_CHUNK = 64 * 1024


@dataclass
class CommandResult(ExecutableResult):
    """LISA's `ExecutableResult`, with the output as bytes too.

    `stdout` and `stderr` are text without surrounding white space and colour codes, as LISA gives
    them for any node. `stdout_bytes` and `stderr_bytes` are what the command wrote, untouched.
    """

    stdout_bytes: bytes = b""
    stderr_bytes: bytes = b""
    oom_killed: bool = False
    """The kernel killed it because the container's memory limit was reached."""
    left_processes: bool = False
    """It has ended, and processes that it started in the background run on. (Known of what went
    through the resident shell, and of those in the command's own process group.)"""
    is_cut: bool = False
    """Only the last MiB of stdout or stderr is in here: the whole went to a callback or a file."""

    def assert_exit_code(
        self,
        expected_exit_code: int | list[int] = 0,
        message: str = "",
        include_output: bool = True,
    ) -> Any:
        """As LISA's, with the output in the message unless told otherwise."""
        if self.oom_killed:
            message = f"{message}\nout of memory: the container's memory limit was reached".strip()
        return super().assert_exit_code(expected_exit_code, message, include_output)

    def assert_output_matches(
        self,
        name: str,
        stream: str = "stdout",
        folder: str | PurePath | None = None,
        rules: RuleSet | None = None,
    ) -> None:
        """Compare the output, normalised, with the snapshot of this name.

            container.run("apt-get install -y hello").assert_output_matches("install_hello")

        Args:
            name: of the snapshot.
            stream: `stdout` or `stderr`.
            folder: of the snapshots; in a case of a `ContainerTestSuite`, or one with
                `@container_test`, by default `snapshots/<suite>` beside the suite's file.
            rules: of normalisation; by default the suite's `output_rules`, else `default_rules()`.

        Raises:
            SnapshotMismatchError: it differs (an `AssertionError`).
            SnapshotMissingError: there is no such snapshot yet (an `AssertionError`).
            SnapshotError: the snapshot cannot be read or written, or the output is not whole.
            ConfigError: an argument is wrong, or there is no suite to tell the folder.
        """
        outputs = {"stdout": self.stdout_bytes, "stderr": self.stderr_bytes}
        if stream not in outputs:
            raise ConfigError(
                f"snapshot '{name}', stream: given {stream!r}; legal: stdout or stderr"
            )
        if self.is_cut:
            raise SnapshotError(
                name,
                "cannot be compared: only the end of the output was kept. Run the command with "
                "keep_output=True",
            )
        assert_output_matches(outputs[stream], name, folder, rules)


def wait_for_kills(seconds: float = 20.0) -> None:
    """Wait for commands that are being killed in the background, as after a case's timeout.

    LISA closes the node's connection at the end of a case, and that would cut a kill short.

    Args:
        seconds: how long at the most.
    """
    deadline = time.monotonic() + seconds
    for thread in threading.enumerate():
        if thread.name in ("exec-kill", "session-kill"):
            thread.join(max(0.0, deadline - time.monotonic()))


def to_argv(command: Command) -> list[str]:
    """A string goes to the container's `sh`, a sequence is run as it is."""
    return ["sh", "-c", command] if isinstance(command, str) else [str(x) for x in command]


class RunningCommand:
    """A command started in a container; `ContainerExecutor.run_async` makes it.

    Args:
        engine: of the node.
        container: name or id.
        command: a string for `sh -c`, or a sequence run without any shell.
        cwd: working directory in the container.
        environment: added to the container's.
        user: `name`, `uid` or `uid:gid`.
        stdin: bytes, text or a binary file to feed; None: the command reads end-of-file.
        interactive: give it a stdin that `write` feeds, instead.
        stdout: where it goes. What that raises ends the command and is raised by `wait`.
        stderr: the same.
        merge_stderr: have it write its stderr to its stdout, as far as the image has a shell.
        start_timeout: seconds the engine may take to start it.
        sessions: resident shells of the container; without them it goes through the engine.
        is_awaited: somebody calls `wait` at once, and reads meanwhile: it needs no thread.
        capture: records it.

    Raises:
        ContainerDiedError, EngineTimeoutError, EngineError: see `Exec`.
        InterruptedRunError: Ctrl-C was pressed meanwhile.
    """

    def __init__(
        self,
        engine: Engine,
        container: str,
        command: Command,
        cwd: str = "",
        environment: Mapping[str, str] | None = None,
        user: str = "",
        stdin: Stdin = None,
        interactive: bool = False,
        stdout: Output | None = None,
        stderr: Output | None = None,
        merge_stderr: bool = False,
        start_timeout: float | None = None,
        sessions: SessionPool | None = None,
        is_awaited: bool = False,
        capture: ContainerCapture | None = None,
    ) -> None:
        self.argv = to_argv(command)
        self.text = command if isinstance(command, str) else shlex.join(self.argv)
        self._is_for_shell = isinstance(command, str)
        self._engine = engine
        self._container = container
        self._stdout, self._stderr = stdout or Output(), stderr or Output()
        self._started = time.monotonic()
        self._mark = interrupt.now()
        self._result: CommandResult | None = None
        # What went wrong on our side (a callback, the file given as stdin): it ends the command.
        self._failure: BaseException | None = None
        argv = ["sh", "-c", 'exec "$@" 2>&1', "sh", *self.argv] if merge_stderr else self.argv
        start: Callable[..., Exec | SessionCommand] = functools.partial(
            Exec,
            engine,
            container,
            argv,
            cwd=cwd,
            environment=environment,
            stdin=stdin is not None or interactive,
        )
        if isinstance(stdin, str):
            stdin = stdin.encode()
        if sessions is not None and (
            stdin is None
            # A signal reaches a pipe's both ends, so this is for what gets none but the last.
            or (is_awaited and isinstance(stdin, bytes) and len(stdin) <= LONGEST_STDIN)
        ):
            start = functools.partial(
                sessions.start,
                command if isinstance(command, str) else self.argv,
                argv,
                self.text,
                Options(cwd, environment, stdin, interactive, merge_stderr, not is_awaited),
                # The user's own code may take its time, which must not hold up a deadline.
                is_read=not is_awaited
                or self._stdout.goes_elsewhere
                or self._stderr.goes_elsewhere,
            )
        words = None if self._is_for_shell else self.argv
        record: CommandCapture | None = None
        if capture is not None:
            record = capture.begin(self.text, words, cwd, environment, user)
        self._record = record
        # Output, and what goes wrong with it, may come before the call is over.
        self._starting = threading.Lock()
        try:
            with self._starting:
                self._exec = start(
                    user=user,
                    on_stdout=self._sink(self._stdout, STDOUT),
                    on_stderr=self._sink(self._stderr, STDERR),
                    start_timeout=start_timeout,
                    poll=self.check_interrupt,
                )
        except BaseException as error:
            if record is not None:
                record.fail(error)
            raise
        if record is not None:
            record.follow(self._exec)
        if stdin is not None and isinstance(self._exec, Exec):
            feed = threading.Thread(target=self._feed, args=(stdin,), name="stdin", daemon=True)
            feed.start()

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._exec.running

    def ends_within(self, seconds: float) -> bool:
        """Wait a little; whether it ended.

        Args:
            seconds: how long.
        """
        return self._exec.ends_within(seconds)

    @property
    def pid(self) -> int:
        """The process id on the node; 0 once it ended."""
        return self._exec.host_pid()

    def write(self, data: bytes) -> None:
        """Write to the stdin of an interactive command."""
        self._exec.write(data)

    def close_stdin(self) -> None:
        """End the stdin of an interactive command."""
        self._exec.close_stdin()

    def check_interrupt(self) -> None:
        """Raise `InterruptedRunError` if Ctrl-C was pressed since the command was started."""
        interrupt.check(self._mark)

    def signal(self, number: int) -> None:
        """Send a signal to its whole process group; see `Exec.signal`."""
        self._exec.signal(number)

    def kill(self) -> None:
        """Kill its process group and all else in its session; see `Exec.kill`."""
        self._exec.kill()

    def kill_soon(self) -> None:
        """Kill it in the background; see `Exec.kill_soon`."""
        self._exec.kill_soon()

    def wait(self, timeout: float | None = 600) -> CommandResult:
        """Wait for its end.

        Args:
            timeout: seconds; at their end its process group is killed. None waits for ever. The
                default is LISA's own.

        Raises:
            CommandTimeoutError: time was up; what it had printed is in the error.
            CommandNotStartedError: it was never run: no such working directory, user, or shell.
            InterruptedRunError: Ctrl-C was pressed meanwhile.
            ContainerDiedError, SshLostError, EngineError: see `Exec.wait`.
        """
        if self._result is not None:
            return self._result
        try:
            self._result = self._wait(timeout)
            if self._record is not None:
                self._record.end(self._result.exit_code, self._result.oom_killed)
            return self._result
        except BaseException as error:
            if self._record is not None:
                self._record.fail(error)
            raise
        finally:
            self._stdout.close()
            self._stderr.close()

    def _wait(self, timeout: float | None) -> CommandResult:
        try:
            ended = self._exec.wait(timeout)
        except InterruptedRunError:
            self._end()
            raise
        except Exception as error:
            raise self._failure or error from error
        except BaseException:
            # LISA's case timeout or Ctrl-C: such an exception may come again while we clean up, so
            # a thread of its own sees to it that the command does not outlive its case.
            self._exec.kill_soon()
            raise
        if self._failure is not None:
            raise self._failure
        if not ended:
            assert timeout is not None
            survived = self._end()
            raise CommandTimeoutError(
                self.text,
                timeout,
                _decode(self._stdout.kept),
                _decode(self._stderr.kept),
                survived,
            )
        return self._make_result()

    def _end(self) -> str:
        """Kill it; why that failed, or nothing."""
        try:
            self._exec.kill()
        except ContainerError as error:
            self._engine.node.log.warning(str(error))
            return str(error)
        return ""

    def _make_result(self) -> CommandResult:
        if self._exec.refusal and self._is_for_shell:
            raise CommandNotStartedError(
                self.text,
                self._container,
                f"its image has no shell ({self._exec.refusal}). Give the command as a list of "
                "words, which is run without one: run(['program', 'argument']).",
            )
        stdout, stderr = self._stdout.kept, self._stderr.kept
        return CommandResult(
            _decode(stdout).strip(),
            _decode(stderr).strip(),
            self._exec.exit_code,
            self.text,
            self._container,
            time.monotonic() - self._started,
            stdout_bytes=stdout,
            stderr_bytes=stderr,
            oom_killed=self._exec.oom_killed,
            left_processes=self._exec.left_processes,
            is_cut=self._stdout.is_cut or self._stderr.is_cut,
        )

    def _sink(self, output: Output, stream: int) -> Callable[[bytes], None]:
        record = self._record

        def add(data: bytes) -> None:
            if self._failure is None:
                try:
                    if record is not None:
                        record.piece(stream, data)
                    output.add(data)
                except BaseException as error:  # raised by `wait`
                    self._fail(error)

        return add

    def _feed(self, stdin: bytes | IO[bytes]) -> None:
        if isinstance(stdin, bytes):
            stdin = io.BytesIO(stdin)
        while True:
            try:
                data = stdin.read(_STDIN_CHUNK)
            except BaseException as error:  # raised by `wait`
                return self._fail(error)
            try:
                if not data:
                    return self._exec.close_stdin()
                self._exec.write(data)
            except OSError:
                return  # it ended without reading all of it, as `head` does
            except TypeError as error:  # a file of text
                return self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        with self._starting:
            self._exec.kill_soon()


def _decode(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")
