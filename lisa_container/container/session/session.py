"""Resident shell in a container."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

from lisa_container.container.login import DETACH_KEYS, TERMINAL_SIZE
from lisa_container.container.request import CommandRequest
from lisa_container.container.session.protocol import (
    Mark,
    ProtocolError,
    Splitter,
    encode_request,
    greeting,
    is_changed,
    is_kept,
    new_token,
    probe,
)
from lisa_container.container.session.script import SHELL, SHELL_ENVIRONMENT
from lisa_container.container.session.terminal import END, TERMINAL_ENVIRONMENT, check
from lisa_container.container.signals import new_number
from lisa_container.engine.client import Engine
from lisa_container.engine.http.frames import STDERR, STDOUT, FrameSplitter
from lisa_container.engine.sockets import EngineFile
from lisa_container.errors import EngineError, SshLostError

# Default time limit, in seconds, for a shell to answer.
_ANSWER_WAIT = 20.0
# A shell that was used this many seconds ago needs no check. One that rested longer is probed
# first, which takes a round trip: if a request goes to a dead shell, it is unknown whether it ran.
_FRESH = 0.003

# Time limit, in seconds, for the self-test of a shell that has answered.
_TEST_WAIT = 10.0
# Commands of the self-test, and the output and end of each in a suitable shell. In yash a death by
# SIGKILL is 393 and not 137.
_TESTS = (
    ("printf %s ' \\x\\'; exit 7", b" \\x\\", 7),
    ("kill -9 $$", b"", 137),
)
# On a terminal: the command leads its group, which has the terminal in the foreground (proc(5)).
_TERMINAL_TEST = "read -r x </proc/$$/stat; set -- ${x##*) }; echo $(($3 == $$)) $(($6 == $$))"
_TERMINAL_TESTS = ((_TERMINAL_TEST, b"1 1\r\n", 0),)

# Exit codes: of a shell that is unsuitable or lacks setsid, and of the engine if sh is missing.
_NO_SHELL = (97, 126, 127)

# Messages of docker and podman for an unknown user.
_NO_USER = (b"no matching entries in", b"unable to find user")
# Largest size, in bytes, of output that comes instead of an answer.
_LONGEST_REFUSAL = 4096

Piece = tuple[int, "bytes | Mark"]


class SessionEndedError(EngineError):
    """The resident shell has ended."""


class NoSessionError(EngineError):
    """The container cannot have a resident shell.

    Args:
        message: Text of the error.
        can_mark: Whether its `sh` can still mark the processes of a string, see `signals`.
    """

    def __init__(self, message: str, can_mark: bool = False) -> None:
        """Make the error."""
        super().__init__(message)
        self.can_mark = can_mark


class NoUserError(EngineError):
    """The container does not know the user, at least not yet."""


class SilentError(Exception):
    """The resident shell does not answer."""


class Session:
    """Resident shell, which runs one command at a time.

    The session has no thread: the caller that waits for a command reads the shell's stream.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.
        user: User who runs the commands; the container's own by default.
        timeout: Seconds that the shell may take to start.
        terminal: Run the commands on a terminal, with the variables of a login.

    Raises:
        NoSessionError: The image has no `sh` or no `setsid`, its `sh` fails the self-test, or the
            container has variables that a shell does not pass on.
        NoUserError: The engine does not find the user.
        SessionEndedError: The container died.
        EngineError: The engine refused, or the container does not run.
        SilentError: The shell does not answer.
    """

    def __init__(
        self,
        engine: Engine,
        container: str,
        user: str = "",
        timeout: float = _ANSWER_WAIT,
        terminal: bool = False,
    ) -> None:
        """Start the shell and test it."""
        self.engine = engine
        self.container = container
        self.user = user
        self.terminal = terminal
        self.is_spent = False
        """Whether the shell can take no further command."""
        self._owner = os.getpid()
        self.number = new_number()
        """Number that marks the session's processes; see `script`."""
        self._token = new_token(self.number)
        self._frames = FrameSplitter()
        self._splitters = {STDOUT: Splitter(self._token), STDERR: Splitter(self._token)}
        self._rested = 0.0
        self._check_environment()
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
            self._stream: EngineFile = engine.api.exec_stream(created["Id"], terminal)
        self.exec_id: str = created["Id"]
        try:
            self.send(greeting(self._token, self.number, self._is_limited))
            self._ask(timeout)
            if terminal:  # not before: the engine waits ten seconds for a shell that cannot start
                with engine.errors(container):
                    engine.api.exec_resize(self.exec_id, *TERMINAL_SIZE)
            self._test_shell()
            self._check_names()
        except _RefusedError as error:
            self.close()
            self._check_shell(error.output)
            raise SessionEndedError("the resident shell ended.") from error
        except BaseException:
            self.close()
            raise

    def is_usable(self, timeout: float) -> bool:
        """Return whether the next command can be sent.

        Args:
            timeout: Seconds that the shell may take to answer.

        Raises:
            SilentError: The shell does not answer.
        """
        if self.is_spent or self.is_inherited or not self._stream._sock.is_idle():
            return False
        # A command may have changed the terminal, so that is always checked.
        if time.monotonic() - self._rested < _FRESH and not self.terminal:
            return True
        try:
            self._ask(timeout)
        except (SessionEndedError, ProtocolError, OSError):
            return False
        return True

    @property
    def is_inherited(self) -> bool:
        """Whether the session belongs to the process that this one was forked from."""
        return self._owner != os.getpid()

    def request(self, request: CommandRequest) -> bytes | None:
        """Return a request as this session's shell reads it; see `protocol.encode_request`."""
        return encode_request(self._token, request)

    def send(self, data: bytes) -> None:
        """Send a request, or data for the stdin of a command.

        Raises:
            OSError: The data could not be sent completely. (`SshLostError` is an OSError, too.)
        """
        self._stream._sock.settimeout(None)
        self._stream._sock.sendall(data)

    def write(self, data: bytes) -> None:
        """Write to the stdin of the present command, which is then the shell's last one.

        The next worker would read what this command does not read.
        """
        self.is_spent = True
        self.send(data)

    def close_stdin(self) -> None:
        """End the stdin of the present command, which is then the shell's last one."""
        self.is_spent = True
        self._stream._sock.shutdown(socket.SHUT_WR)

    def read(self, timeout: float) -> Iterator[Piece]:
        """Yield the next pieces of output and marks, each with the number of its stream.

        Args:
            timeout: Time limit, in seconds.

        Raises:
            EngineError: The stream does not follow the protocol.
            socket.timeout: Nothing came in time.
            SessionEndedError: The shell has ended.
            SshLostError: The connection broke.
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
        frames = [(STDOUT, data)] if self.terminal else self._frames.feed(data)
        for stream, piece in frames:
            for part in self._splitters[stream].feed(piece):
                yield stream, part

    def rest(self) -> None:
        """Note that the shell waits for a command from now on."""
        self._rested = time.monotonic()

    def hang_up(self) -> None:
        """End the stream of a dead container; some engines do not end it."""
        self._stream._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the stream, and so the shell and its worker."""
        self.is_spent = True
        if self.is_inherited:
            return  # this would end the parent's stream
        if self.terminal:
            # The end of the stream is no end of a terminal's input.
            with contextlib.suppress(OSError, EngineError):
                self._stream._sock.settimeout(1.0)
                self._stream._sock.sendall(END)
        self._stream.close()
        with contextlib.suppress(OSError):
            self._stream._sock.shutdown(socket.SHUT_RDWR)
        self._stream._sock.close()

    def _check_environment(self) -> None:
        """Raise NoSessionError if the container has variables that a shell changes."""
        with self.engine.errors(self.container):
            details = self.engine.api.inspect_container(self.container)
        self._is_limited = bool(details["HostConfig"].get("Memory"))
        self.details = details
        self._names = [item.partition("=")[0] for item in details["Config"].get("Env") or []]
        if is_changed(self._names):
            raise NoSessionError(f"a shell changes variables of '{self.container}'")

    def _check_names(self) -> None:
        """Raise NoSessionError if the container has variables that a shell may drop.

        A string's own `sh` drops them, too.
        """
        if not is_kept(self._names):
            message = f"no shell passes on all variables of '{self.container}'"
            raise NoSessionError(message, can_mark=True)

    def _check_shell(self, output: bytes) -> None:
        """Raise an error with the reason why no shell answered, if that is known.

        Args:
            output: Output that came instead of an answer.
        """
        with self.engine.errors(self.container):
            exit_code = self.engine.api.exec_inspect(self.exec_id)["ExitCode"]
        if exit_code not in _NO_SHELL:
            return
        if self.user and any(words in output for words in _NO_USER):
            raise NoUserError(f"'{self.container}' does not know the user '{self.user}'")
        raise NoSessionError(f"the image of '{self.container}' has no suitable sh, or no setsid")

    def _ask(self, timeout: float) -> None:
        """Wait until the shell answers."""
        question, echo = probe(self._token), b""
        if self.terminal:
            question, echo = check(question)
        self.send(question)
        deadline = time.monotonic() + timeout
        output = b""
        while True:
            try:
                for _, piece in self.read(0.1):
                    if piece == Mark("?"):
                        if not output.endswith(echo):
                            raise SessionEndedError("a command changed the terminal.")
                        return
                    if isinstance(piece, bytes):
                        output = (output + piece)[:_LONGEST_REFUSAL]
            except socket.timeout:
                pass
            except SessionEndedError as error:
                raise _RefusedError(output) from error
            if time.monotonic() > deadline:
                raise SilentError(f"no answer in {timeout:g} seconds")

    def _test_shell(self) -> None:
        """Raise NoSessionError unless the shell behaves as the protocol needs."""
        try:
            for command, output, end in _TESTS + (_TERMINAL_TESTS if self.terminal else ()):
                if self.run_short(CommandRequest(command)) != (output, end):
                    raise NoSessionError(f"the 'sh' of '{self.container}' fails at '{command}'")
        except (ProtocolError, SessionEndedError, SilentError) as error:
            raise NoSessionError(f"the 'sh' of '{self.container}' fails: {error}") from error

    def run_short(self, request: CommandRequest) -> tuple[bytes, int]:
        """Run a short command of our own; return its output and exit code.

        Args:
            request: The command; it gets no stdin.

        Raises:
            ProtocolError: The shell broke the protocol.
            SessionEndedError: The shell has ended.
            SilentError: The command did not end in time.
        """
        is_terminal = self.terminal
        text = self.request(
            replace(request, is_awaited=True, interactive=is_terminal, terminal=is_terminal)
        )
        assert text is not None
        self.send(text)
        output, end, streams = b"", 0, {STDOUT} if is_terminal else {STDOUT, STDERR}
        deadline = time.monotonic() + _TEST_WAIT
        while streams:
            with contextlib.suppress(socket.timeout):
                for stream, piece in self.read(0.1):
                    if not isinstance(piece, Mark):
                        output = (output + piece)[:_LONGEST_REFUSAL]
                    elif piece.text.startswith(">") and is_terminal:
                        output = b""  # the echo of the request
                    elif piece.text.startswith("-"):
                        streams.discard(stream)
                        if stream == STDOUT:
                            end, _ = piece.end()
            if time.monotonic() > deadline:
                raise SilentError(f"no end in {_TEST_WAIT:g} seconds")
        return output, end


class _RefusedError(SessionEndedError):
    """The stream ended before the shell answered.

    Args:
        output: Output that came instead of an answer.
    """

    def __init__(self, output: bytes) -> None:
        """Keep the output, which may have the reason."""
        super().__init__("the resident shell ended.")
        self.output = output
