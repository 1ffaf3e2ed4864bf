"""A command in a container while it runs, and its result."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Callable, Union

from lisa.util.process import ExecutableResult

from lisa_container import interrupt
from lisa_container.engine.client import Engine
from lisa_container.engine.exec import Exec
from lisa_container.errors import CommandTimeoutError, InterruptedRunError

Command = Union[str, Sequence[str]]
Stdin = Union[bytes, str, IO[bytes], None]

# 128 + SIGKILL, which is what the kernel sends when a memory limit is reached.
_KILLED = 137
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
        on_stdout: called with each piece of stdout as it comes.
        on_stderr: the same for stderr.
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
        on_stdout: Callable[[bytes], None] | None = None,
        on_stderr: Callable[[bytes], None] | None = None,
    ) -> None:
        self.argv = to_argv(command)
        self.text = command if isinstance(command, str) else shlex.join(self.argv)
        self._engine = engine
        self._container = container
        self._stdout, self._stderr = bytearray(), bytearray()
        self._started = time.monotonic()
        self._mark = interrupt.now()
        self._result: CommandResult | None = None
        self._exec = Exec(
            engine,
            container,
            self.argv,
            cwd=cwd,
            environment=environment,
            user=user,
            stdin=stdin is not None or interactive,
            on_stdout=_tee(self._stdout, on_stdout),
            on_stderr=_tee(self._stderr, on_stderr),
        )
        if stdin is not None:
            threading.Thread(target=self._feed, args=(stdin,), daemon=True).start()

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._exec.running

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
        """Kill its whole process group and see it gone; see `Exec.kill`."""
        self._exec.kill()

    def wait(self, timeout: float | None = 600) -> CommandResult:
        """Wait for its end.

        Args:
            timeout: seconds; at their end its process group is killed. None waits for ever. The
                default is LISA's own.

        Raises:
            CommandTimeoutError: time was up; what it had printed is in the error.
            InterruptedRunError: Ctrl-C was pressed meanwhile.
            ContainerDiedError, SshLostError, EngineError: see `Exec.wait`.
        """
        if self._result is not None:
            return self._result
        try:
            ended = self._exec.wait(timeout, self.check_interrupt)
        except InterruptedRunError:
            self._exec.kill()
            raise
        except Exception:
            raise
        except BaseException:
            # LISA's case timeout or Ctrl-C: such an exception may come again while we clean up, so
            # a thread of its own sees to it that the command does not outlive its case.
            killer = threading.Thread(target=self._exec.kill, daemon=True)
            killer.start()
            raise
        if not ended:
            assert timeout is not None
            self._exec.kill()
            raise CommandTimeoutError(
                self.text, timeout, _decode(self._stdout), _decode(self._stderr)
            )
        self._result = self._make_result()
        return self._result

    def _make_result(self) -> CommandResult:
        exit_code = self._exec.exit_code
        stdout, stderr = bytes(self._stdout), bytes(self._stderr)
        return CommandResult(
            _decode(stdout).strip(),
            _decode(stderr).strip(),
            exit_code,
            self.text,
            self._container,
            time.monotonic() - self._started,
            stdout_bytes=stdout,
            stderr_bytes=stderr,
            oom_killed=exit_code == _KILLED and self._was_out_of_memory(),
        )

    def _was_out_of_memory(self) -> bool:
        with self._engine.errors(self._container):
            events = self._engine.api.events(
                since=int(self._exec.started) - 1,
                until=int(time.time()) + 1,
                filters={"container": [self._container], "event": ["oom"]},
                decode=True,
            )
            return any(True for _ in events)

    def _feed(self, stdin: bytes | str | IO[bytes]) -> None:
        try:
            if isinstance(stdin, str):
                stdin = stdin.encode()
            if isinstance(stdin, bytes):
                self._exec.write(stdin)
            else:
                while True:
                    data = stdin.read(_STDIN_CHUNK)
                    if not data:
                        break
                    self._exec.write(data)
            self._exec.close_stdin()
        except OSError:
            pass  # it ended without reading all of it, as `head` does


def _tee(buffer: bytearray, sink: Callable[[bytes], None] | None) -> Callable[[bytes], None]:
    if sink is None:
        return buffer.extend
    given = sink

    def both(data: bytes) -> None:
        buffer.extend(data)
        given(data)

    return both


def _decode(data: bytes | bytearray) -> str:
    return bytes(data).decode("utf-8", errors="replace")
