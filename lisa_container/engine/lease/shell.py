"""Shell of a node for its lease, with the rights that the node's engine requires."""

from __future__ import annotations

import contextlib
import importlib.resources
import os
import shlex
import subprocess
from typing import Callable, TypeVar

import paramiko
from lisa.util.shell import SshShell
from typing_extensions import Protocol

from lisa_container.engine.client import Engine
from lisa_container.engine.reach import check_login
from lisa_container.engine.ssh import (
    CHANNEL_TIMEOUT,
    address_of,
    answers,
    is_connected,
    open_command,
    transport_of,
)
from lisa_container.errors import EngineError, SshLostError, SudoError, UnreachableError

# They are one program on the node, called by the name of the last.
_PROGRAM = ("node_engine.sh", "node.sh")

T = TypeVar("T")

# Longest silence (seconds) of the node's program, which takes time to remove resources.
_TIMEOUT = 120.0


class NodeCommand(Protocol):
    """Command that runs on the node and reads lines of input."""

    def send(self, line: str) -> None:
        """Send a line to its standard input.

        Raises:
            OSError, paramiko.SSHException: the command or the connection has ended.
        """

    def receive(self) -> str:
        """Return the output since the last call, without waiting.

        Raises:
            EOFError: the output has ended.
        """

    def close(self) -> None:
        """End the command."""


class NodeShell(Protocol):
    """Shell of a node, without a reference to LISA's node object."""

    name: str
    """The node's name, for messages."""
    way: str
    """`ssh`, or `local` for this machine."""

    def run(self, command: str, data: bytes = b"") -> str:
        """Run a shell command and return its output.

        Args:
            command: a command for `sh`.
            data: its standard input.

        Raises:
            SshLostError: the node cannot be reached.
            SudoError: sudo refused.
            EngineError: the shell does not run commands.
        """

    def start(self, command: str, reconnect: bool = False) -> NodeCommand:
        """Start a command that reads lines of input.

        Args:
            command: a command for `sh`.
            reconnect: use a new connection, since the last one does not answer. What runs over that
                one goes on.

        Raises:
            SshLostError, SudoError, EngineError: see `run`.
        """

    @property
    def is_connected(self) -> bool:
        """Whether a connection to the node seems to be open now."""

    def answers(self) -> bool:
        """Return within seconds whether the node accepts a login now."""

    def close(self) -> None:
        """Close this object's own connection."""


def shell_of(engine: Engine, as_root: bool | None = None) -> NodeShell:
    """Return the shell of an engine's node.

    Args:
        engine: the node's engine.
        as_root: use sudo; None: use it if the engine needs root.
    """
    shell = engine.node.shell
    if as_root is None:
        as_root = engine.dialer.as_root
    if isinstance(shell, SshShell):
        return _RemoteShell(shell, engine.name, as_root)
    return _LocalShell(engine.name, as_root)


def runner_shell() -> NodeShell:
    """Return the shell of this machine, with the rights of its user."""
    return _LocalShell("this machine", as_root=False)


def run_program(shell: NodeShell, verb: str, *words: str) -> str:
    """Run a verb of `node.sh` on a node; return its output.

    Raises:
        SshLostError, SudoError, EngineError: see `NodeShell.run`.
    """
    files = importlib.resources.files(__package__)
    program = "\n".join(files.joinpath(each).read_text("ascii").strip() for each in _PROGRAM)
    # Check the length, since a broken connection may truncate the program.
    command = (
        f"script=$(cat); [ ${{#script}} = {len(program)} ] || exit 1; export script; "
        f'exec sh -c "$script" {shlex.join([_PROGRAM[-1], verb, *words])}'
    )
    return shell.run(command, program.encode("ascii"))


class _RemoteShell:
    way = "ssh"

    def __init__(self, shell: SshShell, name: str, as_root: bool) -> None:
        self.name = name
        self._shell = shell
        self._as_root = as_root
        self._password = (shell.connection_info.password or None) if as_root else None
        self._own: SshShell | None = None

    def run(self, command: str, data: bytes = b"") -> str:
        own = self._own if self._has_own and not is_connected(self._shell) else None
        shell = own or self._shell

        def read() -> str:
            with self._open(shell, command, data) as channel:
                channel.settimeout(_TIMEOUT)
                with channel.makefile("rb") as file:
                    output = str(file.read().decode(errors="replace"))
                # A connection that LISA closed looks like the end of the output.
                if channel.recv_exit_status() < 0:
                    raise EOFError("the connection ended before the command did")
                return output

        return self._with_ssh_errors(read)

    def start(self, command: str, reconnect: bool = False) -> NodeCommand:
        # LISA closes its connection after each case, and only one thread may open its shell. So
        # LISA's connection is used while it is open, but never opened here.
        # An own connection stays open over the cases, so that a renewal needs no login.
        own = self._own if self._has_own else None
        if reconnect or (own is None and not is_connected(self._shell)):
            own = SshShell(self._shell.connection_info, self._shell._proxy_jump_boxes)
            self._own = own
        shell = own or self._shell

        def start() -> NodeCommand:
            return _ChannelCommand(self._open(shell, command), lambda: self._leave(own))

        return self._with_ssh_errors(start)

    @property
    def _has_own(self) -> bool:
        return self._own is not None and is_connected(self._own)

    def _leave(self, own: SshShell | None) -> None:
        """Close an own connection whose command has ended, unless it is the last."""
        if own is not None and own is not self._own:
            with contextlib.suppress(Exception):
                own.close()

    @property
    def is_connected(self) -> bool:
        return is_connected(self._shell) or self._has_own

    def answers(self) -> bool:
        if self.is_connected:
            return answers(self._shell)
        try:
            check_login(self._shell, CHANNEL_TIMEOUT)
        except UnreachableError:
            return False
        return True

    def close(self) -> None:
        own, self._own = self._own, None
        self._leave(own)

    def _open(self, shell: SshShell, command: str, data: bytes | None = None) -> paramiko.Channel:
        return open_command(transport_of(shell), command, self._as_root, self._password, data)

    def _with_ssh_errors(self, job: Callable[[], T]) -> T:
        try:
            return job()
        except EngineError:
            raise
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise SshLostError(address_of(self._shell), error) from error


class _ChannelCommand:
    def __init__(self, channel: paramiko.Channel, leave: Callable[[], None]) -> None:
        self._channel = channel
        self._leave = leave
        channel.settimeout(0)

    def send(self, line: str) -> None:
        self._channel.sendall(f"{line}\n".encode())

    def receive(self) -> str:
        output = b""
        while self._channel.recv_ready():
            output += self._channel.recv(4096)
        if not output and (self._channel.eof_received or self._channel.closed):
            raise EOFError("the command on the node has ended")
        return output.decode(errors="replace")

    def close(self) -> None:
        self._channel.close()
        self._leave()


class _LocalShell:
    way = "local"

    def __init__(self, name: str, as_root: bool) -> None:
        self.name = name
        # -n: never prompt on the terminal that LISA was started from.
        self._words = ["sudo", "-n", "--"] if as_root else []

    def run(self, command: str, data: bytes = b"") -> str:
        words = [*self._words, "sh", "-c", command]
        try:
            done = subprocess.run(
                words, input=data, capture_output=True, timeout=_TIMEOUT, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EngineError(f"a command on this machine failed: {error}") from error
        if done.returncode and not done.stdout and self._words:
            raise SudoError(done.stderr.decode(errors="replace").strip())
        return done.stdout.decode(errors="replace")

    def start(self, command: str, reconnect: bool = False) -> NodeCommand:
        try:
            return _ProcessCommand([*self._words, "sh", "-c", command])
        except OSError as error:
            raise EngineError(f"a command on this machine failed: {error}") from error

    @property
    def is_connected(self) -> bool:
        return True

    def answers(self) -> bool:
        return True

    def close(self) -> None:
        pass


class _ProcessCommand:
    def __init__(self, words: list[str]) -> None:
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C must not reach it
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self._stdout.fileno(), False)

    def send(self, line: str) -> None:
        self._stdin.write(f"{line}\n".encode())
        self._stdin.flush()

    def receive(self) -> str:
        output = self._stdout.read()
        if output == b"":
            raise EOFError("the command has ended")
        return (output or b"").decode(errors="replace")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._stdin.close()
        self._process.wait(10)
        self._stdout.close()
