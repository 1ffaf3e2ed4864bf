"""First process of a container: its output from the very start, and its end."""

from __future__ import annotations

import re
import threading
from typing import Any

from lisa_container.container.output import MOST_KEPT
from lisa_container.engine.client import Engine
from lisa_container.engine.http.frames import STDERR, STDOUT, read_frames
from lisa_container.engine.sockets import EngineFile
from lisa_container.errors import ContainerError, EngineError, OutputLimitError
from lisa_container.recording.commands import CommandCapture

# Messages of runc and crun for a command that they cannot execute, and its exit codes in
# docker-run(1) and shells. Messages about a working directory or a mount lack the word "exec".
_NOT_FOUND = re.compile(
    r"exec:? \S+: (stat \S+: )?(executable file not found|no such file)"
    r"|executable file .* not found",
    re.I,
)
_NOT_EXECUTABLE = re.compile(
    r"exec:? \S+: (permission denied|exec format error|is a directory)"
    r"|open executable: permission denied|exec format error",
    re.I,
)
_CODE_NOT_FOUND, _CODE_NOT_EXECUTABLE = 127, 126


class MainProcess:
    """First process of a container that was created and not yet started.

    The output is read from a stream that is attached before the start. So nothing of it is lost,
    and it needs no log of the engine, which the log driver `none` does not write.

    Args:
        engine: Engine of the node.
        container: Id of the container.
        record: Record of the process; None if it is not recorded.
    """

    def __init__(
        self, engine: Engine, container: str, record: CommandCapture | None = None
    ) -> None:
        """Start nothing yet; `start` does."""
        self.stdout, self.stderr = bytearray(), bytearray()
        self.finished = threading.Event()
        """Set when the process has ended and its whole output is here."""
        self.container = container
        self.refusal = ""
        """Message of the engine if the program does not exist or cannot be executed."""
        self._engine = engine
        self._record = record
        self._error: ContainerError | None = None
        self._state: dict[str, Any] = {}
        self._raw: EngineFile | None = None

    def start(self, attach: bool = True) -> None:
        """Start the container.

        A command that does not exist or cannot be executed counts as one that failed: it gets an
        exit code, and the engine's message as stderr.

        Args:
            attach: Whether to read the output and wait for the end.

        Raises:
            EngineError: The container did not start for another reason.
        """
        try:
            with self._engine.errors(self.container):
                if attach:  # with podman this is what creates the process
                    self._raw = self._engine.api.attach_stream(self.container)
                self._engine.api.start(self.container)
        except BaseException as error:
            self.close()
            exit_code = _exit_code(str(error)) if isinstance(error, EngineError) else None
            if exit_code is None:
                raise
            self.refusal = str(error)
            self._add(STDERR, self.refusal.encode())
            self._state = {"ExitCode": exit_code}
            self.finished.set()
            return
        if self._raw is not None:
            follow = threading.Thread(target=self._follow, args=(self._raw,), name="container")
            follow.daemon = True
            follow.start()

    @property
    def exit_code(self) -> int:
        """Exit code of the process, once it has finished.

        Raises:
            SshLostError: The connection broke; the process may still run.
            EngineError: The engine failed.
        """
        if self._error is not None:
            raise self._error
        return int(self._state["ExitCode"])

    @property
    def oom_killed(self) -> bool:
        """Whether the kernel killed the process or a child at the container's memory limit."""
        return bool(self._state.get("OOMKilled"))

    def close(self) -> None:
        """Close the stream of the output."""
        if self._raw is not None:
            self._raw.close()
            self._raw._sock.close()

    def _add(self, stream: int, data: bytes) -> bytearray:
        """Add output to what was written to a stream; return that."""
        output = self.stdout if stream == STDOUT else self.stderr
        output.extend(data)
        if self._record is not None:
            self._record.piece(stream, data)
        return output

    def _follow(self, raw: EngineFile) -> None:
        try:
            with self._engine.errors(self.container):
                raw._sock.settimeout(None)
                for stream, data in read_frames(raw):
                    output = self._add(stream, data)
                    if len(output) > MOST_KEPT:
                        output.clear()
                        self._error = OutputLimitError(self.container[:12], MOST_KEPT)
                        return
                # The output can end before the process does.
                self._engine.api.wait(self.container, timeout=None)
                self._state = self._engine.api.inspect_container(self.container)["State"]
        except EngineError as error:
            self._error = error
        finally:
            self.close()
            self.finished.set()


def _exit_code(message: str) -> int | None:
    if _NOT_FOUND.search(message):
        return _CODE_NOT_FOUND
    return _CODE_NOT_EXECUTABLE if _NOT_EXECUTABLE.search(message) else None
