"""A sudo user's way to the engine's socket: a relay, started under sudo.

The usual LISA user may not open the engine's socket but has sudo. One small process, run as root by
whatever interpreter the node has, listens on a private socket (mode 600, owned by the user) and
passes streams on. sshd opens that socket like any other, so the user gets the same channels as one
in the docker group, at the same speed. The relay ends by itself when no stream was open for a
while, so a runner that was killed leaves nothing.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import os
import socket
import subprocess
import sys
import threading
from typing import Any, Callable, Union

import paramiko
from lisa.util.shell import SshShell

from lisa_container.engine.dial.base import no_engine_at
from lisa_container.engine.dial.remote import StreamlocalDialer
from lisa_container.engine.dial.unix import UnixDialer
from lisa_container.engine.lease.tag import TAG
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

# The first bytes of a stream that ask the relay to end, instead of a request to the engine.
_END = b"LISA-RELAY-END\n"

# Interpreters a node may have -> the relay's program for each, in this package. -I: the user's home
# is no place to import modules from, as root. Red Hat 8 has the second always and the first not.
_PROGRAMS = {
    "python3 -I": "relay.py.txt",
    "/usr/libexec/platform-python -I": "relay.py.txt",
    "perl": "relay.pl.txt",
}

_Inner = Union[StreamlocalDialer, UnixDialer]


class RelayDialer:
    """Reaches a root-only engine socket through a relay started under sudo.

    Made by `relay_on_node` and `relay_here`.

    Args:
        engine_path: absolute path of the engine's socket.
        start: starts a relay and returns the way to its socket.
        is_reachable: whether the machine it runs on answers now, without waiting.

    Raises:
        EngineError: what `start` raises.
    """

    name = "relay"
    pool_size = 10
    as_root = True

    def __init__(
        self, engine_path: str, start: Callable[[], _Inner], is_reachable: Callable[[], bool]
    ) -> None:
        self.engine_path = engine_path
        self._start = start
        self._is_reachable = is_reachable
        self._lock = threading.Lock()
        self._inner = start()

    @property
    def path(self) -> str:
        """The relay's own socket."""
        return self._inner.path

    def dial(self) -> EngineSocket:
        """See `Dialer.dial`."""
        inner = self._inner
        try:
            return inner.dial()
        except EngineNotFoundError:
            with self._lock:
                if inner is self._inner:  # it had been idle and ended
                    self._inner = self._start()
            return self._inner.dial()

    def keepalive_target(self) -> Any:
        """The transport of LISA's connection, if it is open."""
        return self._inner.keepalive_target()

    def close(self) -> None:
        """Have the relay end now, and streams through it too. Left alone, it ends when idle."""
        if not self._is_reachable():
            return
        try:
            stream = self._inner.dial()
        except EngineError:
            return  # it had ended already
        try:
            stream.settimeout(5)
            stream.sendall(_END)
            stream.recv(1)  # returns with the relay's end
        except (EngineError, OSError):
            pass  # it will end when idle
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
    """A relay on a remote node.

    Args:
        shell: LISA's shell to the node.
        path: absolute path of the engine's socket.
        uid: numeric id of the login user, who will own the relay's socket.
        password: the user's password, where sudo asks for one.
        idle_seconds: after how long without an open stream the relay ends.
        lease: gives the id of the lease that it ends with at the latest.

    Raises:
        SudoError: sudo refused.
        EngineNotFoundError: nobody listens at the engine's socket.
        EngineError: no interpreter for the relay is on the node, or it did not start.
        SshLostError: the node cannot be reached.
    """
    node = address_of(shell)

    def run(interpreter: str, program: bytes) -> str:
        command = f"exec env {TAG}={lease()} {interpreter} {_arguments(path, uid, idle_seconds)}"
        try:
            transport = transport_of(shell)
            with open_command(transport, command, True, password) as channel:
                channel.settimeout(_START_TIMEOUT)
                with contextlib.suppress(OSError):  # no such interpreter: nobody reads it
                    channel.sendall(program)
                    channel.shutdown_write()
                with channel.makefile("rb") as output:
                    answer: str = output.readline().decode(errors="replace").strip()
            if not answer and not transport.is_active():
                raise paramiko.SSHException("the connection ended")
            return answer
        except EngineError:
            raise
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise SshLostError(node, error) from error

    def start() -> StreamlocalDialer:
        own, pid = _start(run, list(_PROGRAMS), path, node)
        dialer = StreamlocalDialer(shell, own)
        try:
            dialer.dial().close()
        except EngineNotFoundError as error:
            read_command(transport_of(shell), f"kill {pid}", True, password)
            raise EngineError(f"sshd on {node} does not open unix sockets: {error}") from error
        return dialer

    return RelayDialer(path, start, lambda: is_connected(shell))


def relay_here(
    path: str, idle_seconds: float = IDLE_SECONDS, lease: Callable[[], str] = str
) -> RelayDialer:
    """A relay on this machine, for a user who may not open the engine's socket but has sudo.

    Args:
        path: absolute path of the engine's socket.
        idle_seconds: after how long without an open stream the relay ends.
        lease: gives the id of the lease that it ends with at the latest.

    Raises:
        SudoError: sudo refused. It is never asked to prompt on this terminal.
        EngineNotFoundError: nobody listens at the engine's socket.
        EngineError: the relay did not start.
    """

    def run(interpreter: str, program: bytes) -> str:
        # -n: never ask on the terminal of the person who started LISA.
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
        answer = done.stdout.decode(errors="replace").strip()
        if not answer:
            raise SudoError(done.stderr.decode(errors="replace").strip())
        return answer

    def start() -> UnixDialer:
        return UnixDialer(_start(run, [f"{sys.executable} -I"], path, socket.gethostname())[0])

    return RelayDialer(path, start, lambda: True)


def _arguments(path: str, uid: int, idle_seconds: float) -> str:
    return f"- {path} {uid} {idle_seconds:g}"


def _start(
    run: Callable[[str, bytes], str], interpreters: list[str], path: str, node: str
) -> tuple[str, str]:
    """Start a relay by the first interpreter that can; the path of its socket, and its pid."""
    reasons = []
    for interpreter in interpreters:
        package = importlib.resources.files(__package__)
        resource = _PROGRAMS.get(interpreter, _PROGRAMS["python3 -I"])
        answer = run(interpreter, package.joinpath(resource).read_bytes())
        word, _, rest = answer.partition(" ")
        if word == "listening":
            pid, _, own = rest.partition(" ")
            return own, pid
        if word == "refused":
            raise no_engine_at(path, node, rest)
        reasons.append(f"{interpreter}: {answer or 'not on the node'}")
    raise EngineError(f"the relay to {path} on {node} did not start ({'; '.join(reasons)})")
