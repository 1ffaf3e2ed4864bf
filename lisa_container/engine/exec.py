"""One command in a running container, through the engine's exec API."""

from __future__ import annotations

import re
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Callable

from lisa_container.engine.client import Engine
from lisa_container.engine.sockets import EngineFile
from lisa_container.errors import ContainerDiedError, EngineError, KillError

Sink = Callable[[bytes], None]

# Waiting happens in slices this long (seconds), so that LISA's case timeout and Ctrl-C, which come
# as exceptions between two steps of Python, get through at once.
_SLICE = 0.1
# How long a killed command may take to disappear, in seconds.
_KILL_WAIT = 10.0
_STDOUT, _STDERR = 1, 2

# The engine reports on stdout, as if the command had written it, that it could not be run; always
# with exit code 126. docker-run(1) promises 127 for a command that is not there, as shells do.
_NOT_RUN = b"OCI runtime exec failed"
_NOT_FOUND = (b"executable file not found", b"no such file or directory")
_CODE_NOT_RUN, _CODE_NOT_FOUND = 126, 127


class Exec:
    """A command started in a container. Output goes to the sinks as it comes.

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

    Raises:
        ContainerDiedError: the container is not running.
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
    ) -> None:
        self.started = time.time()
        self._engine = engine
        self._container = container
        self._sinks: dict[int, Sink | None] = {_STDOUT: on_stdout, _STDERR: on_stderr}
        self._finished = threading.Event()
        self._error: BaseException | None = None
        self.exit_code: int | None = None
        self._refusal = b""
        try:
            with engine.errors(container):
                self._id: str = engine.api.exec_create(
                    container,
                    list(argv),
                    workdir=cwd or None,
                    environment=dict(environment or {}),
                    user=user,
                    privileged=privileged,
                    stdin=stdin,
                )["Id"]
                self._stream: EngineFile = engine.api.exec_stream(self._id)
                self._socket = self._stream._sock
                self._socket.settimeout(None)
        except EngineError as error:
            died = death_of(engine, container)
            raise died or error from error
        threading.Thread(target=self._read, name=f"exec-{self._id[:8]}", daemon=True).start()

    @property
    def running(self) -> bool:
        """Whether it still runs (or its output is still coming)."""
        return not self._finished.is_set()

    def write(self, data: bytes) -> None:
        """Write to the command's stdin; only with `stdin=True`."""
        self._socket.sendall(data)

    def close_stdin(self) -> None:
        """End the command's stdin."""
        self._socket.shutdown(1)

    def wait(
        self, timeout: float | None = None, poll: Callable[[], None] | None = None
    ) -> bool:
        """Wait until the command ended and its output was passed on.

        Args:
            timeout: seconds; None waits for ever.
            poll: called now and then while waiting; what it raises ends the waiting.

        Returns:
            False when the time was up first.

        Raises:
            ContainerDiedError: the container died below the command.
            SshLostError: the connection broke; the command may still run.
            EngineError: the engine failed.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._finished.wait(
            _SLICE if deadline is None else max(0.0, min(_SLICE, deadline - time.monotonic()))
        ):
            if deadline is not None and time.monotonic() >= deadline:
                return False
            if poll is not None:
                poll()
        if self._error is not None:
            raise self._error
        return True

    def signal(self, number: int) -> None:
        """Send a signal to the command's whole process group in the container.

        Ending the client of an exec leaves the process running
        (https://github.com/opencontainers/runc/issues/3359), so the group itself is signalled. runc
        makes every exec the leader of a session and group of its own.

        Args:
            number: signal number, signal(7).

        Raises:
            KillError: neither the container nor the node has a way to do it.
        """
        host_pid = self.host_pid()
        if not host_pid:
            return  # it has ended
        reasons: list[str] = []
        if self._signal_inside(number, host_pid, reasons) or self._signal_from_node(
            number, host_pid, reasons
        ):
            return
        if self.host_pid():
            raise KillError(self._container, number, "; ".join(reasons))

    def kill(self) -> None:
        """Kill the command's process group and see it gone.

        Raises:
            KillError: it is still there.
        """
        deadline = time.monotonic() + _KILL_WAIT
        while self.host_pid():
            self.signal(9)
            if self._finished.wait(0.05):
                break
            if time.monotonic() > deadline:
                raise KillError(self._container, 9, "the process does not end")
        self._finished.wait(max(0.0, deadline - time.monotonic()))

    def host_pid(self) -> int:
        """The process id on the node; 0 once it ended."""
        try:
            with self._engine.errors(self._container):
                state = self._engine.api.exec_inspect(self._id)
        except EngineError:
            return 0  # engine and container are gone, and the command with them
        return int(state.get("Pid") or 0) if state.get("Running") else 0

    def _signal_inside(self, number: int, host_pid: int, reasons: list[str]) -> bool:
        """By the container's own shell, as root, so that no right on the node is needed."""
        status = self._engine.node.execute(
            f"cat /proc/{host_pid}/status", no_info_log=True, no_error_log=True
        ).stdout
        match = re.search(r"^NSpid:.*\s(\d+)\s*$", status, re.MULTILINE)
        if match is None:
            reasons.append("the process is not visible on the node")
            return False
        script = f"kill -{number} -- -{match.group(1)}"
        try:
            killer = Exec(
                self._engine, self._container, ["sh", "-c", script], user="0", privileged=True
            )
        except EngineError as error:
            reasons.append(str(error))
            return False
        if killer.wait(_KILL_WAIT) and killer.exit_code == 0:
            return True
        reasons.append(f"the container's shell could not (exit code {killer.exit_code})")
        return False

    def _signal_from_node(self, number: int, host_pid: int, reasons: list[str]) -> bool:
        """From the node, as root: the way for images without a shell."""
        result = self._engine.node.execute(
            f"kill -{number} -- -{host_pid}", shell=True, sudo=True, no_info_log=True
        )
        if result.exit_code == 0:
            return True
        reasons.append(f"the node could not: {result.stdout} {result.stderr}".strip())
        return False

    def _read(self) -> None:
        try:
            self._read_frames()
            self.exit_code = self._wait_exit_code()
        except BaseException as error:  # passed on to whoever waits
            self._error = death_of(self._engine, self._container) or error
        finally:
            self._stream.close()
            self._socket.close()
            self._finished.set()

    def _read_frames(self) -> None:
        """Take apart what the engine sends: 8 bytes of header (stream, length), then the data.

        https://docs.docker.com/engine/api/v1.41/#operation/ContainerAttach, "Stream format".
        """
        first = True
        with self._engine.errors(self._container):
            while True:
                header = _exactly(self._stream, 8)
                if not header:
                    return
                stream, length = struct.unpack(">BxxxL", header)
                while length:
                    data = self._stream.read(min(length, 64 * 1024))
                    if not data:
                        return
                    length -= len(data)
                    if first and data.startswith(_NOT_RUN):
                        self._refusal, stream = data, _STDERR
                    first = False
                    sink = self._sinks.get(stream)
                    if sink is not None:
                        sink(data)

    def _wait_exit_code(self) -> int:
        deadline = time.monotonic() + _KILL_WAIT
        while True:
            with self._engine.errors(self._container):
                state = self._engine.api.exec_inspect(self._id)
            if not state["Running"] and state["ExitCode"] is not None:
                break
            if time.monotonic() > deadline:
                raise EngineError(
                    f"the engine closed the output of a command in '{self._container}' while it "
                    "runs: the command may have sent its children to the background"
                )
            time.sleep(0.005)
        died = death_of(self._engine, self._container)
        if died is not None:
            raise died
        exit_code = int(state["ExitCode"])
        if exit_code == _CODE_NOT_RUN and any(x in self._refusal for x in _NOT_FOUND):
            return _CODE_NOT_FOUND
        return exit_code


def death_of(engine: Engine, container: str) -> ContainerDiedError | None:
    """Why a container does not run, or None if it does or cannot be asked."""
    try:
        with engine.errors(container):
            state = engine.api.inspect_container(container)["State"]
    except EngineError as error:
        if "No such container" in str(error) or "no such container" in str(error):
            return ContainerDiedError(container, engine.name, "it was removed")
        return None
    if state.get("Running"):
        return None
    reason = f"exit code {state.get('ExitCode')}"
    if state.get("OOMKilled"):
        reason += ", out of memory"
    if state.get("Error"):
        reason += f", {state['Error']}"
    return ContainerDiedError(container, engine.name, reason)


def _exactly(stream: EngineFile, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = stream.read(count - len(data))
        if not piece:
            return b""
        data += piece
    return data
