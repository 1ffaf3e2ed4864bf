"""Container as the host of resident shells: streams of the engine's exec."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable
from typing import Any, Callable

from lisa.util.logger import Logger

from lisa_container.container.exec import run_helper
from lisa_container.container.login import DETACH_KEYS, TERMINAL_SIZE
from lisa_container.container.session.errors import (
    NoSessionError,
    NoUserError,
    SessionEndedError,
)
from lisa_container.container.session.host import ShellStream, Surroundings
from lisa_container.container.session.script import SHELL, SHELL_ENVIRONMENT
from lisa_container.container.session.terminal import TERMINAL_ENVIRONMENT
from lisa_container.container.signals import Run, Target
from lisa_container.container.state import death_of, late_start, note_kills, was_out_of_memory
from lisa_container.engine.client import Engine
from lisa_container.engine.deaths import WatchedContainer
from lisa_container.engine.http.frames import STDOUT, FrameSplitter
from lisa_container.engine.script import run_script
from lisa_container.engine.sockets import EngineFile
from lisa_container.errors import ContainerError, EngineTimeoutError, SshLostError
from lisa_container.escaping import printable

# Exit codes: of a shell that is unsuitable or lacks setsid, and of the engine if sh is missing.
_NO_SHELL = (97, 126, 127)
# Messages of docker and podman for an unknown user.
_NO_USER = (b"no matching entries in", b"unable to find user")


class ExecStream:
    """Stream of an exec that runs a resident shell; see `ShellStream`.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.
        user: User of the shell; the container's own by default.
        terminal: Whether the shell is on a terminal.

    Raises:
        EngineError: The engine refused, or the container does not run.
    """

    def __init__(self, engine: Engine, container: str, user: str, terminal: bool) -> None:
        """Start the shell."""
        self._engine = engine
        self._container = container
        self._user = user
        self._is_terminal = terminal
        self._frames = FrameSplitter()
        with engine.errors(container):
            created = engine.api.exec_create(
                container,
                SHELL,
                user=user,
                stdin=True,
                environment=TERMINAL_ENVIRONMENT if terminal else SHELL_ENVIRONMENT,
                tty=terminal,
                detach_keys=DETACH_KEYS if terminal else None,
            )
            self._file: EngineFile = engine.api.exec_stream(created["Id"], terminal)
        self._socket = self._file._sock
        self._id: str = created["Id"]

    def send(self, data: bytes, timeout: float | None = None) -> None:
        """Send bytes to the shell's stdin; see `ShellStream.send`."""
        self._socket.settimeout(timeout)
        self._socket.sendall(data)

    def read(self, timeout: float) -> Iterable[tuple[int, bytes]]:
        """Return the next pieces of output; see `ShellStream.read`."""
        self._socket.settimeout(timeout)
        try:
            data = self._file.read_some()
        except (socket.timeout, SshLostError):
            raise
        except OSError as error:
            raise SessionEndedError(f"the stream of the resident shell broke: {error}.") from error
        if not data:
            raise SessionEndedError("the resident shell ended.")
        return [(STDOUT, data)] if self._is_terminal else self._frames.feed(data)

    def is_idle(self) -> bool:
        """Return whether the stream is open with nothing to read."""
        return self._socket.is_idle()

    def close_stdin(self) -> None:
        """End the shell's stdin."""
        self._socket.shutdown(socket.SHUT_WR)

    def hang_up(self) -> None:
        """End the stream of a dead container; some engines do not end it."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the stream, and so the shell."""
        self._file.close()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def set_terminal_size(self) -> None:
        """Set the size of the shell's terminal."""
        with self._engine.errors(self._container):
            self._engine.api.exec_resize(self._id, *TERMINAL_SIZE)

    def check_start(self, output: bytes) -> None:
        """Raise the reason why the shell has not answered; see `ShellStream.check_start`."""
        exit_code = self._inspect()["ExitCode"]
        if exit_code not in _NO_SHELL:
            return
        if self._user and any(words in output for words in _NO_USER):
            raise NoUserError(f"'{self._container}' does not know the user '{self._user}'")
        raise NoSessionError(f"the image of '{self._container}' has no suitable sh, or no setsid")

    def find_worker(self) -> tuple[int, str] | None:
        """Return the worker's process id on the node and the container's id; None if it is gone."""
        state = self._inspect()
        shell = int(state.get("Pid") or 0)
        children = run_script(
            self._engine.node, f"cat /proc/{shell}/task/{shell}/children"
        ).stdout.split()
        if not children or not children[0].isdigit():
            return None
        return int(children[0]), str(state["ContainerID"])

    def _inspect(self) -> dict[str, Any]:
        with self._engine.errors(self._container):
            return dict(self._engine.api.exec_inspect(self._id))


class ContainerHost:
    """Container in which resident shells run; see `ShellHost`.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.
    """

    def __init__(self, engine: Engine, container: str) -> None:
        """Ask the engine nothing yet."""
        self.engine = engine
        self.name = container
        self._details: dict[str, Any] = {}

    @property
    def log(self) -> Logger:
        """Log of the node."""
        return self.engine.node.log

    def look(self) -> Surroundings:
        """Return the variables of the container, and whether it has a memory limit."""
        with self.engine.errors(self.name):
            self._details = details = self.engine.api.inspect_container(self.name)
        names = [item.partition("=")[0] for item in details["Config"].get("Env") or []]
        return Surroundings(names, bool(details["HostConfig"].get("Memory")))

    def open(self, user: str, terminal: bool) -> ExecStream:
        """Start a resident shell by the engine's exec."""
        return ExecStream(self.engine, self.name, user, terminal)

    def miss_shell(self, error: ContainerError) -> None:
        """Log the error: the engine starts the commands then."""
        self.log.debug(f"no resident shell in '{self.name}': {printable(error)}")

    def watch(self, hang_up: Callable[[], None]) -> WatchedContainer:
        """Watch the container; see `DeathWatch`."""
        return self.engine.deaths.watch(self.name, hang_up)

    def require_answer(self) -> None:
        """Return if the engine answers."""
        self.engine.ping()

    def run_helper(self, argv: list[str], user: str) -> tuple[int, bytes]:
        """Run a short program by the engine's exec."""
        return run_helper(self.engine, self.name, argv, user)

    def find_target(self, stream: ShellStream, run: Run, mark: str) -> Target | None:
        """Return the shell's worker by its process id on the node; None if it is gone."""
        assert isinstance(stream, ExecStream)
        found = stream.find_worker()
        if found is None:
            return None
        worker, container_id = found
        return Target(self.engine, self.name, container_id, worker, run, mark, in_session=True)

    def lost(self, error: SshLostError) -> SshLostError:
        """Return the error for a command whose connection broke, with the node's name."""
        return SshLostError(self.engine.name, error.cause)

    def death(self) -> BaseException | None:
        """Return the error that says why the container does not run; None if it runs."""
        return death_of(self.engine, self.name)

    def was_out_of_memory(self, seconds: float) -> bool:
        """Return whether the kernel killed a process at the container's memory limit."""
        return was_out_of_memory(self.engine, self.name, seconds)

    def note_kills(self, count: int) -> None:
        """Note the number of kills that the kernel has counted."""
        note_kills(self.engine, self._details, count)

    def late_start(self, seconds: float) -> EngineTimeoutError:
        """Return the error for a command that did not start in time."""
        return late_start(self.engine, self.name, seconds)
