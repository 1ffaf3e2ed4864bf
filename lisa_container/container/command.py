"""Command that was started in a container or virtual machine."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from typing import IO, Callable

from lisa_container.container import interrupt
from lisa_container.container.kills import kill_in_background
from lisa_container.container.output import MOST_KEPT, Output, TooMuchOutputError
from lisa_container.container.process import CommandPlace, ContainerProcess
from lisa_container.container.request import CommandRequest, Sinks, to_argv
from lisa_container.container.result import CommandResult
from lisa_container.engine.waiting import bounded
from lisa_container.errors import (
    CommandNotStartedError,
    CommandTimeoutError,
    ContainerDiedError,
    ContainerError,
    InterruptedRunError,
    OutputLimitError,
)
from lisa_container.masking import Plain
from lisa_container.recording.commands import CommandCapture, CommandDescription
from lisa_container.recording.commands.capture import STDERR, STDOUT
from lisa_container.recording.container import ContainerCapture

_STDIN_CHUNK = 64 * 1024
# Time limit, in seconds, of the look whether a container has died.
_LOOK_WAIT = 5.0


class RunningCommand:
    """Command that was started, as `ContainerExecutor.run_async` returns it.

    Args:
        place: Container or virtual machine of the command.
        request: Command to run.
        stdout: Destination of stdout. An exception in it ends the command; `wait` raises it.
        stderr: Destination of stderr.
        capture: Records the command.

    Raises:
        ContainerDiedError: The container does not run.
        EngineTimeoutError: The engine did not start the command in time.
        EngineError: The engine refused.
        InterruptedRunError: Ctrl-C was pressed meanwhile.
    """

    def __init__(
        self,
        place: CommandPlace,
        request: CommandRequest,
        stdout: Output | None = None,
        stderr: Output | None = None,
        capture: ContainerCapture | None = None,
    ) -> None:
        """Start the command."""
        request.protect_secrets()
        self.request = request
        self.text = request.text
        """Command line for logs, errors and records: without secrets."""
        self._place = place
        self._stdout, self._stderr = stdout or Output(), stderr or Output()
        self._started = time.monotonic()
        self._mark = interrupt.now()
        self._result: CommandResult | None = None
        # Error in a callback, or in the file given as stdin; it ends the command.
        self._failure: BaseException | None = None
        # Error of the kill after such an error.
        self._kill_error: ContainerError | None = None
        self._record: CommandCapture | None = None
        if capture is not None:
            words = None if request.is_for_shell else to_argv(request.command)
            # A copy: the caller may change the mapping while the command runs.
            variables = dict(request.environment)
            description = CommandDescription(self.text, words, request.cwd, variables, request.user)
            self._record = capture.begin_command(description)
        # Held while the command starts: output or an error may come before the start has ended.
        self._starting = threading.Lock()
        try:
            with self._starting:
                self._process = self._start()
        except BaseException as error:
            if self._record is not None:
                self._record.fail(error)
            raise
        if self._record is not None:
            self._record.follow(self._process)
        stdin = request.stdin
        if stdin is not None and self._process.takes_stdin:
            feed = threading.Thread(target=self._feed, args=(stdin,), name="stdin", daemon=True)
            feed.start()

    def _start(self) -> ContainerProcess:
        request = self.request
        sinks = Sinks(
            self._sink(self._stdout, STDOUT),
            self._sink(self._stderr, STDERR),
            self._check,
        )
        # A slow callback must not delay the check of the time limit.
        is_read = self._stdout.goes_elsewhere or self._stderr.goes_elsewhere
        return self._place.start(request, sinks, is_read or not request.is_awaited)

    @property
    def running(self) -> bool:
        """Whether the command runs, or its output is still coming."""
        return self._process.running

    def ends_within(self, seconds: float) -> bool:
        """Wait some seconds; return whether the command has ended."""
        return self._process.ends_within(seconds)

    @property
    def pid(self) -> int:
        """Process id of the command; 0 if it has ended or the id is unknown."""
        return self._process.host_pid()

    def write(self, data: bytes) -> None:
        """Write to the stdin of an interactive command."""
        self._process.write(data)

    def close_stdin(self) -> None:
        """End the stdin of an interactive command."""
        self._process.close_stdin()

    def check_interrupt(self) -> None:
        """Raise `InterruptedRunError` if Ctrl-C was pressed since the command was started."""
        interrupt.check(self._mark)

    def _check(self) -> None:
        """Raise what ends the wait for the command: Ctrl-C, or a failed kill."""
        self.check_interrupt()
        if self._kill_error is not None:
            raise self._kill_error

    def signal(self, number: int) -> None:
        """Send a signal to the command's process group; see `ContainerProcess.signal`."""
        self._process.signal(number)

    def kill(self) -> None:
        """Kill the command and all its descendants; see `ContainerProcess.kill`."""
        self._process.kill()

    def kill_soon(self) -> None:
        """Kill the command in the background; a failure is logged."""
        self._process.kill_soon()

    def wait(self, timeout: float | None = 600) -> CommandResult:
        """Wait for the end of the command; return its result.

        Args:
            timeout: Seconds until the command's process group is killed. 600 is the default of
                LISA's `execute`; None means no limit.

        Raises:
            CommandTimeoutError: Time was up; the error has the output so far.
            CommandNotStartedError: The working directory, the user or the shell does not exist.
            InterruptedRunError: Ctrl-C was pressed meanwhile.
            ContainerDiedError, SshLostError, EngineError: See `ContainerProcess.wait`.
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
            ended = self._process.wait(timeout)
        except InterruptedRunError as error:
            error.note_end(self._end())
            raise
        except Exception as error:
            if self._failure is None:
                raise
            died = isinstance(error, ContainerDiedError)
            raise self._fail_after("" if died else str(error)) from error
        except BaseException:
            # LISA's case timeout or Ctrl-C: such an exception may come again during the clean-up,
            # so another thread kills the command.
            self._process.kill_soon()
            raise
        survived = "" if ended else self._end()
        if self._failure is not None:
            raise self._fail_after(survived)
        if not ended:
            assert timeout is not None
            raise CommandTimeoutError(
                self.text,
                timeout,
                _decode(self._stdout.kept),
                _decode(self._stderr.kept),
                survived,
            )
        return self._make_result()

    def _fail_after(self, survived: str) -> BaseException:
        """Return the error that ended the command, which says what became of the command.

        Args:
            survived: Why the command could not be killed; empty if it has ended.
        """
        assert self._failure is not None
        if isinstance(self._failure, OutputLimitError):
            self._failure.note_end(survived)
        return self._failure

    def _end(self) -> str:
        """Kill the command; return why that failed, or an empty string."""
        try:
            self._kill_or_raise()
        except ContainerError as error:
            self._place.log.warning(Plain(str(error)))
            return str(error)
        return ""

    def _kill_or_raise(self) -> None:
        """Kill the command; raise if that failed and its container has not died either."""
        try:
            self._process.kill()
        except ContainerError:
            with contextlib.suppress(TimeoutError):
                if bounded(self._place.death, _LOOK_WAIT) is not None:
                    return
            raise

    def _make_result(self) -> CommandResult:
        if self._process.refusal and self.request.is_for_shell:
            raise CommandNotStartedError(
                self.text,
                self._place.name,
                f"its image has no shell ({self._process.refusal}). Give the command as a list of "
                "words, which is run without one: run(['program', 'argument']).",
            )
        stdout, stderr = self._stdout.kept, self._stderr.kept
        return CommandResult(
            _decode(stdout).strip(),
            _decode(stderr).strip(),
            self._process.exit_code,
            self.text,
            self._place.name,
            time.monotonic() - self._started,
            stdout_bytes=stdout,
            stderr_bytes=stderr,
            oom_killed=self._process.oom_killed,
            left_processes=self._process.left_processes,
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
                except TooMuchOutputError:
                    self._fail(OutputLimitError(self.text, MOST_KEPT))
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
                    return self._process.close_stdin()
                self._process.write(data)
            except OSError:
                return  # the command ended without reading all of it, as `head` does
            except TypeError as error:  # a file of text
                return self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        with self._starting:
            kill_in_background(self._kill_failed, self._place.log)

    def _kill_failed(self) -> None:
        """Kill the command after an error; a failure also ends the wait for the command."""
        try:
            self._kill_or_raise()
        except ContainerError as error:
            self._kill_error = error
            raise


def _decode(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")
