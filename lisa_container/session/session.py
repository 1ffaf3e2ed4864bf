"""One resident shell in a container."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator, Sequence

from lisa_container.engine.client import Engine
from lisa_container.engine.frames import STDERR, STDOUT, FrameSplitter
from lisa_container.engine.sockets import EngineFile
from lisa_container.errors import EngineError, SshLostError
from lisa_container.session.protocol import (
    SHELL,
    SHELL_ENVIRONMENT,
    Mark,
    Options,
    Splitter,
    greeting,
    new_token,
    probe,
    request,
)

# How long (seconds) a shell may take to answer when nobody says.
_ANSWER_WAIT = 20.0
# A shell that was used so lately (seconds) is taken to be there still. One that rested longer is
# asked first, which takes a round trip: what is sent to one that is gone may have run or not, and
# then nobody can tell.
_FRESH = 0.003

# Exit codes: the script's own where there is no setsid; the engine's where there is no sh.
_NO_SHELL = (97, 126, 127)

Piece = tuple[int, "bytes | Mark"]


class SessionEndedError(EngineError):
    """The resident shell is no more."""


class NoSessionError(EngineError):
    """The container's image cannot have a resident shell."""


class SilentError(Exception):
    """The resident shell does not answer."""


class Session:
    """A resident shell. It runs one command at a time, and has no thread: whoever waits reads.

    Args:
        engine: of the node.
        container: name or id.
        user: who runs the commands; the container's own by default.
        timeout: seconds it may take to be there.

    Raises:
        NoSessionError: the image has no `sh`, or no `setsid`.
        SessionEndedError: the container died.
        EngineError: the engine refused, or the container does not run.
        SilentError: it does not answer.
    """

    def __init__(
        self, engine: Engine, container: str, user: str = "", timeout: float = _ANSWER_WAIT
    ) -> None:
        self.engine = engine
        self.container = container
        self.user = user
        self.is_spent = False
        """It can take no further command."""
        self._token = new_token()
        self._frames = FrameSplitter()
        self._splitters = {STDOUT: Splitter(self._token), STDERR: Splitter(self._token)}
        self._rested = 0.0
        with engine.errors(container):
            created = engine.api.exec_create(
                container, SHELL, user=user, stdin=True, environment=SHELL_ENVIRONMENT
            )
            self._stream: EngineFile = engine.api.exec_stream(created["Id"])
        self.exec_id: str = created["Id"]
        try:
            self.send(greeting(self._token))
            self._ask(timeout)
        except BaseException as error:
            self.close()
            if isinstance(error, SessionEndedError):
                self._check_shell()
            raise

    def is_usable(self, timeout: float) -> bool:
        """Whether the next command can be sent.

        Args:
            timeout: seconds it may take to answer.

        Raises:
            SilentError: it does not answer.
        """
        if self.is_spent or not self._stream._sock.is_idle():
            return False
        if time.monotonic() - self._rested < _FRESH:
            return True
        try:
            self._ask(timeout)
        except (SessionEndedError, OSError):
            return False
        return True

    def request(self, command: str | Sequence[str], options: Options) -> bytes | None:
        """See `protocol.request`."""
        return request(self._token, command, options)

    def send(self, data: bytes) -> None:
        """Send a request, or what it is to read.

        Raises:
            OSError: it could not be sent whole. (`SshLostError` is one, too.)
        """
        self._stream._sock.settimeout(None)
        self._stream._sock.sendall(data)

    def write(self, data: bytes) -> None:
        """Write to the stdin of the present command.

        What it leaves unread the next worker would read, so this is the shell's last command.
        """
        self.is_spent = True
        self.send(data)

    def close_stdin(self) -> None:
        """End the stdin of the present command; it is the shell's last one."""
        self.is_spent = True
        self._stream._sock.shutdown(socket.SHUT_WR)

    def read(self, timeout: float) -> Iterator[Piece]:
        """What comes next, as (stream, bytes or mark).

        Args:
            timeout: seconds.

        Raises:
            socket.timeout: nothing came.
            SessionEndedError: it ended.
            SshLostError: the connection broke.
        """
        self._stream._sock.settimeout(timeout)
        try:
            data = self._stream.read_some()
        except (socket.timeout, SshLostError):
            raise
        except OSError as error:
            raise SessionEndedError(f"the stream of the resident shell broke: {error}.") from error
        if not data:
            raise SessionEndedError("the resident shell ended.")
        for stream, piece in self._frames.feed(data):
            for part in self._splitters[stream].feed(piece):
                yield stream, part

    def rest(self) -> None:
        """It waits for a command from now on."""
        self._rested = time.monotonic()

    def close(self) -> None:
        """End the shell: it and its worker end with the stream."""
        self.is_spent = True
        self._stream.close()
        with contextlib.suppress(OSError):
            self._stream._sock.shutdown(socket.SHUT_RDWR)
        self._stream._sock.close()

    def _check_shell(self) -> None:
        with self.engine.errors(self.container):
            exit_code = self.engine.api.exec_inspect(self.exec_id)["ExitCode"]
        if exit_code in _NO_SHELL:
            raise NoSessionError(f"the image of '{self.container}' has no sh, or no setsid")

    def _ask(self, timeout: float) -> None:
        """Wait until it says that it is there."""
        self.send(probe(self._token))
        deadline = time.monotonic() + timeout
        while True:
            with contextlib.suppress(socket.timeout):
                for _, piece in self.read(0.1):
                    if piece == Mark("?"):
                        return
            if time.monotonic() > deadline:
                raise SilentError(f"no answer in {timeout:g} seconds")
