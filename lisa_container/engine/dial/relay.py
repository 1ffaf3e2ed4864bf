"""Dialer for a sudo user: a relay to the engine's socket, started under sudo.

The usual LISA user may not open the engine's socket but has sudo. The relay is one small process,
run as root by an interpreter that the node has. It listens on a private socket (mode 600, owned by
the user) and passes streams on. sshd opens that socket like any other, so the user gets the same
fast channels as a user in the docker group. The relay ends when no stream was open for a while, so
a killed runner leaves nothing behind.
"""

from __future__ import annotations

import importlib.resources
import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Any, Callable, Union

import paramiko
from lisa.util.shell import SshShell

from lisa_container.engine.dial.base import no_engine_at
from lisa_container.engine.dial.remote import StreamlocalDialer
from lisa_container.engine.dial.unix import UnixDialer
from lisa_container.engine.lease_id import TAG
from lisa_container.engine.sockets import EngineSocket
from lisa_container.engine.ssh import (
    address_of,
    is_connected,
    open_command,
    read_command,
    transport_of,
)
from lisa_container.errors import EngineError, EngineNotFoundError, SshLostError, SudoError

# Seconds without an open stream after which the relay ends.
IDLE_SECONDS = 60.0

# Seconds an interpreter may take to start.
_START_TIMEOUT = 20.0

# First bytes of a stream that ask the relay to end, instead of a request to the engine.
_END = b"LISA-RELAY-END\n"

# Interpreters that a node may have -> the relay's program for each, in this package. -I: root must
# not import modules from the user's home. Red Hat 8 always has the second one, but not the first.
_PROGRAMS = {
    "python3 -I": "relay.py.txt",
    "/usr/libexec/platform-python -I": "relay.py.txt",
    "perl": "relay.pl.txt",
}

# Seconds to wait for the exit status of a program that ended, and characters of its stderr to keep.
_END_TIMEOUT = 5.0
_LONGEST_REASON = 2000

# env(1): the program does not exist.
_NOT_FOUND = 127
# A shell adds this to a signal's number for the exit code of a program that the signal ended.
_BY_SIGNAL = 128

_Inner = Union[StreamlocalDialer, UnixDialer]


@dataclass(frozen=True)
class _Answer:
    """Result of a start of the relay's program.

    Attributes:
        line: the program's only line of output; empty if it ended without one.
        exit_code: negative if a signal ended the program, None if it does not end.
        stderr: the program's error output.
    """

    line: str
    exit_code: int | None = 0
    stderr: str = ""

    @property
    def is_missing(self) -> bool:
        """Whether the node lacks the interpreter."""
        return not self.line and self.exit_code == _NOT_FOUND

    @property
    def reason(self) -> str:
        """Reason why the relay did not start."""
        if self.line:
            return self.line
        if self.is_missing:
            return "not on the node"
        if self.exit_code is None:
            return "it neither starts nor ends"
        if self.exit_code < 0 or self.exit_code > _BY_SIGNAL:
            why = "it was killed while it started"
        else:
            why = f"it ended at once with exit code {self.exit_code}"
        return f"{why}: {self.stderr}" if self.stderr else why


class RelayDialer:
    """Dialer for a root-only engine socket, through a relay started under sudo.

    Use `relay_on_node` or `relay_here` to make one.

    Args:
        engine_path: absolute path of the engine's socket.
        start: starts a relay and returns a dialer for its socket.
        is_reachable: returns at once whether the relay's machine answers now.

    Raises:
        EngineError: see `start`.
    """

    name = "relay"
    pool_size = 10
    as_root = True

    def __init__(
        self, engine_path: str, start: Callable[[], _Inner], is_reachable: Callable[[], bool]
    ) -> None:
        """Start the relay."""
        self.engine_path = engine_path
        self._start = start
        self._is_reachable = is_reachable
        self._lock = threading.Lock()
        self._inner = start()

    @property
    def path(self) -> str:
        """Path of the relay's socket."""
        return self._inner.path

    def dial(self) -> EngineSocket:
        """See `Dialer.dial`."""
        inner = self._inner
        try:
            return inner.dial()
        except EngineNotFoundError:
            with self._lock:
                if inner is self._inner:  # the relay was idle and ended
                    self._inner = self._start()
            return self._inner.dial()

    def keepalive_target(self) -> Any:
        """Return the transport of LISA's connection, if it is open."""
        return self._inner.keepalive_target()

    def close(self) -> None:
        """End the relay and all streams through it now, instead of when it is idle."""
        if not self._is_reachable():
            return
        try:
            stream = self._inner.dial()
        except EngineError:
            return  # the relay has ended already
        try:
            stream.settimeout(5)
            stream.sendall(_END)
            stream.recv(1)  # returns when the relay ends
        except (EngineError, OSError):
            pass  # the relay will end when it is idle
        finally:
            stream.close()


def relay_on_node(
    shell: SshShell,
    path: str,
    uid: int,
    password: str | None,
    idle_seconds: float = IDLE_SECONDS,
    lease: Callable[[], str] = str,
) -> RelayDialer:
    """Start a relay on a remote node.

    Args:
        shell: LISA's shell to the node.
        path: absolute path of the engine's socket.
        uid: numeric id of the login user, who will own the relay's socket.
        password: the user's password, for sudo.
        idle_seconds: seconds without an open stream after which the relay ends.
        lease: returns the id of the lease with which the relay ends at the latest.

    Raises:
        SudoError: sudo refused.
        EngineNotFoundError: no engine listens at the socket.
        EngineError: the node has no interpreter for the relay, or the relay did not start.
        SshLostError: the node cannot be reached.
    """
    node = address_of(shell)

    def run(interpreter: str, program: bytes) -> _Answer:
        command = f"exec env {TAG}={lease()} {interpreter} {_arguments(path, uid, idle_seconds)}"
        try:
            transport, channel = _open(shell, command, password, program)
            with channel:
                channel.settimeout(_START_TIMEOUT)
                with channel.makefile("rb") as output:
                    line: str = output.readline().decode(errors="replace").strip()
                if line:
                    return _Answer(line)
                if channel.status_event.wait(_END_TIMEOUT):
                    return _Answer("", channel.exit_status, _stderr_of(channel))
            if not transport.is_active():
                raise paramiko.SSHException("the connection ended")
            return _Answer("", None)
        except EngineError:
            raise
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise SshLostError(node, error) from error

    def start() -> StreamlocalDialer:
        for is_last in (False, True):
            own, pid = _start(run, list(_PROGRAMS), path, node)
            dialer = StreamlocalDialer(shell, own)
            try:
                dialer.dial().close()
                return dialer
            except EngineNotFoundError as error:
                kill = f"kill {pid} && echo killed"
                if read_command(transport_of(shell), kill, True, password):
                    why = f"sshd on {node} does not open unix sockets: {error}"
                    raise EngineError(why) from error
                if is_last:
                    why = (
                        f"the relay to {path} on {node} was killed twice as soon as it had started"
                    )
                    raise EngineError(f"{why}: see what kills processes there") from error
        raise AssertionError

    return RelayDialer(path, start, lambda: is_connected(shell))


def relay_here(
    path: str, idle_seconds: float = IDLE_SECONDS, lease: Callable[[], str] = str
) -> RelayDialer:
    """Start a relay on this machine, for a user who may not open the engine's socket but has sudo.

    Args:
        path: absolute path of the engine's socket.
        idle_seconds: seconds without an open stream after which the relay ends.
        lease: returns the id of the lease with which the relay ends at the latest.

    Raises:
        SudoError: sudo refused. It never prompts on this terminal.
        EngineNotFoundError: no engine listens at the socket.
        EngineError: the relay did not start.
    """

    def run(interpreter: str, program: bytes) -> _Answer:
        # -n: never prompt on the terminal that LISA was started from.
        arguments = _arguments(path, os.getuid(), idle_seconds)
        command = f"sudo -n -- env {TAG}={lease()} {interpreter} {arguments}"
        try:
            done = subprocess.run(
                command.split(),
                input=program,
                capture_output=True,
                timeout=_START_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SudoError(str(error)) from error
        line = done.stdout.decode(errors="replace").strip()
        stderr = done.stderr.decode(errors="replace").strip()
        if not line and done.returncode == 1:  # the exit code of sudo itself
            raise SudoError(stderr)
        return _Answer(line, done.returncode, stderr)

    def start() -> UnixDialer:
        return UnixDialer(_start(run, [f"{sys.executable} -I"], path, socket.gethostname())[0])

    return RelayDialer(path, start, lambda: True)


def _stderr_of(channel: paramiko.Channel) -> str:
    data = channel.recv_stderr(_LONGEST_REASON) if channel.recv_stderr_ready() else b""
    return data.decode(errors="replace").strip()


def _arguments(path: str, uid: int, idle_seconds: float) -> str:
    return f"- {path} {uid} {idle_seconds:g}"


def _open(
    shell: SshShell, command: str, password: str | None, program: bytes
) -> tuple[paramiko.Transport, paramiko.Channel]:
    """Start a command under sudo; try once more where the connection closes at this moment."""
    try:
        transport = transport_of(shell)
        return transport, open_command(transport, command, True, password, program)
    except EngineError:
        raise
    except (paramiko.SSHException, EOFError, OSError):
        # A relay without a stream ends by itself, so a second one does no harm.
        transport = transport_of(shell)
        return transport, open_command(transport, command, True, password, program)


def _start(
    run: Callable[[str, bytes], _Answer], interpreters: list[str], path: str, node: str
) -> tuple[str, str]:
    """Start a relay with the first interpreter that works; return its socket's path and its pid."""
    reasons = []
    for interpreter in interpreters:
        package = importlib.resources.files(__package__)
        resource = _PROGRAMS.get(interpreter, _PROGRAMS["python3 -I"])
        program = package.joinpath(resource).read_bytes()
        answer = run(interpreter, program)
        if not answer.line and not answer.is_missing:
            answer = run(interpreter, program)  # it may have been killed by chance
        word, _, rest = answer.line.partition(" ")
        if word == "listening":
            pid, _, own = rest.partition(" ")
            return own, pid
        if word == "refused":
            raise no_engine_at(path, node, rest)
        reasons.append(f"{interpreter}: {answer.reason}")
    raise EngineError(f"the relay to {path} on {node} did not start ({'; '.join(reasons)})")
