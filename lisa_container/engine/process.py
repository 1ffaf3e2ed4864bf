"""A container's first process: its output from the very start, and its end."""

from __future__ import annotations

import re
import threading
from typing import Any

from lisa_container.engine.client import Engine
from lisa_container.engine.frames import STDOUT, read_frames
from lisa_container.engine.sockets import EngineFile
from lisa_container.errors import EngineError

# The words of runc and crun for a command they cannot execute, told from a wrong working directory
# or mount by the "exec"; and the exit codes that docker-run(1) and shells have for it.
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
    """Follows a container that was created and not yet started.

    Attached before the start, it misses nothing, and needs no log of the engine's: with the log
    driver `none` there is none.

    Args:
        engine: of the node.
        container: its id.
    """

    def __init__(self, engine: Engine, container: str) -> None:
        self.stdout, self.stderr = bytearray(), bytearray()
        self.finished = threading.Event()
        """Set when it ended, and all of its output is there."""
        self.container = container
        self.refusal = ""
        """What the engine said where there is no such program, or it may not be executed."""
        self._engine = engine
        self._error: EngineError | None = None
        self._state: dict[str, Any] = {}
        self._raw: EngineFile | None = None

    def start(self, attach: bool = True) -> None:
        """Start the container.

        A command that is not there, or may not be executed, has run and failed: it has an exit
        code, and the engine's words on stderr.

        Args:
            attach: whether to follow it; else it is only started.

        Raises:
            EngineError: it did not start for another reason.
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
            self.stderr += self.refusal.encode()
            self._state = {"ExitCode": exit_code}
            self.finished.set()
            return
        if self._raw is not None:
            follow = threading.Thread(target=self._follow, args=(self._raw,), name="container")
            follow.daemon = True
            follow.start()

    @property
    def exit_code(self) -> int:
        """Of the process, once it has finished.

        Raises:
            SshLostError: the connection broke; it may still run.
            EngineError: the engine failed.
        """
        if self._error is not None:
            raise self._error
        return int(self._state["ExitCode"])

    @property
    def oom_killed(self) -> bool:
        """Whether the kernel killed it, or a child, at the container's memory limit."""
        return bool(self._state.get("OOMKilled"))

    def close(self) -> None:
        """Follow it no longer."""
        if self._raw is not None:
            self._raw.close()
            self._raw._sock.close()

    def _follow(self, raw: EngineFile) -> None:
        try:
            with self._engine.errors(self.container):
                raw._sock.settimeout(None)
                for stream, data in read_frames(raw):
                    (self.stdout if stream == STDOUT else self.stderr).extend(data)
                # The output can end before the process does.
                self._engine.api.wait(self.container, timeout=None)
                self._state = self._engine.api.inspect_container(self.container)["State"]
        except EngineError as error:
            self._error = error
        finally:
            self.close()
            self.finished.set()


def _exit_code(said: str) -> int | None:
    if _NOT_FOUND.search(said):
        return _CODE_NOT_FOUND
    return _CODE_NOT_EXECUTABLE if _NOT_EXECUTABLE.search(said) else None
