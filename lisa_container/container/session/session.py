"""Resident shell in a container or virtual machine."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

from lisa_container.container.request import CommandRequest
from lisa_container.container.session.errors import (
    NoSessionError,
    SessionEndedError,
    SilentError,
)
from lisa_container.container.session.host import ShellHost
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
from lisa_container.container.session.terminal import END, check
from lisa_container.container.signals import new_number
from lisa_container.engine.http.frames import STDERR, STDOUT
from lisa_container.errors import EngineError

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

# Largest size, in bytes, of output that comes instead of an answer.
_LONGEST_REFUSAL = 4096

Piece = tuple[int, "bytes | Mark"]


class Session:
    """Resident shell, which runs one command at a time.

    The session has no thread: the caller that waits for a command reads the shell's stream.

    Args:
        host: Container or virtual machine.
        user: User who runs the commands; the host's own by default.
        timeout: Seconds that the shell may take to start.
        terminal: Run the commands on a terminal, with the variables of a login.

    Raises:
        NoSessionError: The host has no `sh` or no `setsid`, its `sh` fails the self-test, or the
            host has variables that a shell does not pass on.
        NoUserError: The engine does not find the user.
        SessionEndedError: The host died.
        EngineError: The engine refused, or the container does not run.
        SilentError: The shell does not answer.
    """

    def __init__(
        self,
        host: ShellHost,
        user: str = "",
        timeout: float = _ANSWER_WAIT,
        terminal: bool = False,
    ) -> None:
        """Start the shell and test it."""
        self.host = host
        self.user = user
        self.terminal = terminal
        self.is_spent = False
        """Whether the shell can take no further command."""
        self._owner = os.getpid()
        self.number = new_number()
        """Number that marks the session's processes; see `script`."""
        self._token = new_token(self.number)
        self._splitters = {STDOUT: Splitter(self._token), STDERR: Splitter(self._token)}
        self._rested = 0.0
        surroundings = host.look()
        if is_changed(surroundings.variables):
            raise NoSessionError(f"a shell changes variables of '{host.name}'")
        self.stream = host.open(user, terminal)
        """Connection to the shell."""
        try:
            self.send(greeting(self._token, self.number, surroundings.counts_kills))
            self._ask(timeout)
            if terminal:  # not before: the engine waits ten seconds for a shell that cannot start
                self.stream.set_terminal_size()
            if not surroundings.is_tested:
                self._test_shell()
            if not is_kept(surroundings.variables):  # a string's own `sh` drops them, too
                message = f"no shell passes on all variables of '{host.name}'"
                raise NoSessionError(message, can_mark=True)
        except _RefusedError as error:
            self.close()
            self.stream.check_start(error.output)
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
        if self.is_spent or self.is_inherited or not self.stream.is_idle():
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
        self.stream.send(data)

    def write(self, data: bytes) -> None:
        """Write to the stdin of the present command, which is then the shell's last one.

        The next worker would read what this command does not read.
        """
        self.is_spent = True
        self.send(data)

    def close_stdin(self) -> None:
        """End the stdin of the present command, which is then the shell's last one."""
        self.is_spent = True
        self.stream.close_stdin()

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
        for stream, piece in self.stream.read(timeout):
            for part in self._splitters[stream].feed(piece):
                yield stream, part

    def rest(self) -> None:
        """Note that the shell waits for a command from now on."""
        self._rested = time.monotonic()

    def close(self) -> None:
        """End the stream, and so the shell and its worker."""
        self.is_spent = True
        if self.is_inherited:
            return  # this would end the parent's stream
        if self.terminal:
            # The end of the stream is no end of a terminal's input.
            with contextlib.suppress(OSError, EngineError):
                self.stream.send(END, timeout=1.0)
        self.stream.close()

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
                    raise NoSessionError(f"the 'sh' of '{self.host.name}' fails at '{command}'")
        except (ProtocolError, SessionEndedError, SilentError) as error:
            raise NoSessionError(f"the 'sh' of '{self.host.name}' fails: {error}") from error

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
