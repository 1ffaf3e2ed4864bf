"""A node's shell as a lease needs it, with the rights that the node's engine asks for."""

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
from lisa_container.engine.ssh import (
    address_of,
    answers,
    check_login,
    is_connected,
    open_command,
    transport_of,
)
from lisa_container.errors import EngineError, SshLostError, SudoError

_PROGRAM = "node.sh"

T = TypeVar("T")

# Seconds without a word of the node's program: it removes things, which takes its time.
_TIMEOUT = 120.0


class Lines(Protocol):
    """A command that runs on the node, fed line by line."""

    def send(self, line: str) -> None:
        """Feed it a line.

        Raises:
            OSError, paramiko.SSHException: it has ended, or the connection has.
        """

    def received(self) -> str:
        """What it has printed since the last call. Never waits.

        Raises:
            EOFError: nothing, and nothing will come.
        """

    def close(self) -> None:
        """End it."""


class NodeShell(Protocol):
    """Runs the shell program of this folder on a node. Knows nothing of LISA's node object."""

    name: str
    """What to call the node in a message."""

    def run(self, command: str, data: bytes = b"") -> str:
        """What a shell command prints.

        Args:
            command: for `sh`.
            data: its standard input.

        Raises:
            SshLostError: the node cannot be reached.
            SudoError: sudo refused.
            EngineError: the shell does not run commands.
        """

    def lines(self, command: str, anew: bool = False) -> Lines:
        """Start a command that is fed line by line.

        Args:
            command: for `sh`.
            anew: not over the connection used for the last one, which does not answer.

        Raises:
            SshLostError, SudoError, EngineError: as for `run`.
        """

    @property
    def is_connected(self) -> bool:
        """Whether a connection to the node is open now, as far as is known here."""

    def answers(self) -> bool:
        """Whether the node can be reached and logged in to now, found out within seconds."""

    def close(self) -> None:
        """Give back what belongs to this object alone."""


def shell_of(engine: Engine, as_root: bool | None = None) -> NodeShell:
    """The shell of an engine's node.

    Args:
        engine: of the node.
        as_root: by sudo; None where its engine needs root.
    """
    shell = engine.node.shell
    if as_root is None:
        as_root = engine.dialer.as_root
    if isinstance(shell, SshShell):
        return _RemoteShell(shell, engine.name, as_root)
    return _LocalShell(engine.name, as_root)


def runner_shell() -> NodeShell:
    """The shell of this machine, as its user."""
    return _LocalShell("this machine", as_root=False)


def run_program(shell: NodeShell, verb: str, *words: str) -> str:
    """Run a verb of `node.sh` on a node; what it prints.

    Raises:
        SshLostError, SudoError, EngineError: as `NodeShell.run`.
    """
    program = importlib.resources.files(__package__).joinpath(_PROGRAM).read_text("ascii").strip()
    # In one piece or not at all: the connection may break on the way.
    command = (
        f"script=$(cat); [ ${{#script}} = {len(program)} ] || exit 1; export script; "
        f'exec sh -c "$script" {shlex.join([_PROGRAM, verb, *words])}'
    )
    return shell.run(command, program.encode("ascii"))


class _RemoteShell:
    def __init__(self, shell: SshShell, name: str, as_root: bool) -> None:
        self.name = name
        self._shell = shell
        self._as_root = as_root
        self._password = (shell.connection_info.password or None) if as_root else None
        self._own: SshShell | None = None

    def run(self, command: str, data: bytes = b"") -> str:
        def read() -> str:
            with self._open(self._shell, command) as channel:
                channel.settimeout(_TIMEOUT)
                with contextlib.suppress(OSError):  # it ended without reading: its output tells
                    channel.sendall(data)
                    channel.shutdown_write()
                with channel.makefile("rb") as output:
                    said = str(output.read().decode(errors="replace"))
                # LISA closing its connection looks like the end of the output.
                if channel.recv_exit_status() < 0:
                    raise EOFError("the connection ended before the command did")
                return said

        return self._translated(read)

    def lines(self, command: str, anew: bool = False) -> Lines:
        # LISA closes its connection after each case, and its shell is for one thread at a time: so
        # it is used where it is open, and never opened from here.
        own = anew or not is_connected(self._shell)
        if anew:
            self.close()

        def start() -> Lines:
            return _ChannelLines(self._open(self._own_shell() if own else self._shell, command))

        return self._translated(start)

    @property
    def is_connected(self) -> bool:
        return is_connected(self._shell)

    def answers(self) -> bool:
        if not answers(self._shell):
            return False
        if self.is_connected or self._shell._get_jump_boxes():
            return True
        try:
            check_login(self._shell.connection_info)
        except SshLostError:
            return False
        return True

    def close(self) -> None:
        if self._own is not None:
            with contextlib.suppress(Exception):
                self._own.close()
            self._own = None

    def _own_shell(self) -> SshShell:
        if self._own is None:
            self._own = SshShell(self._shell.connection_info, self._shell._proxy_jump_boxes)
        return self._own

    def _open(self, shell: SshShell, command: str) -> paramiko.Channel:
        return open_command(transport_of(shell), command, self._as_root, self._password)

    def _translated(self, job: Callable[[], T]) -> T:
        try:
            return job()
        except EngineError:
            raise
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise SshLostError(address_of(self._shell), error) from error


class _ChannelLines:
    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        channel.settimeout(0)

    def send(self, line: str) -> None:
        self._channel.sendall(f"{line}\n".encode())

    def received(self) -> str:
        said = b""
        while self._channel.recv_ready():
            said += self._channel.recv(4096)
        if not said and (self._channel.eof_received or self._channel.closed):
            raise EOFError("the command on the node has ended")
        return said.decode(errors="replace")

    def close(self) -> None:
        self._channel.close()


class _LocalShell:
    def __init__(self, name: str, as_root: bool) -> None:
        self.name = name
        # -n: never ask on the terminal of the person who started LISA.
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

    def lines(self, command: str, anew: bool = False) -> Lines:
        try:
            return _ProcessLines([*self._words, "sh", "-c", command])
        except OSError as error:
            raise EngineError(f"a command on this machine failed: {error}") from error

    @property
    def is_connected(self) -> bool:
        return True

    def answers(self) -> bool:
        return True

    def close(self) -> None:
        pass


class _ProcessLines:
    def __init__(self, words: list[str]) -> None:
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is not for it
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self._stdout.fileno(), False)

    def send(self, line: str) -> None:
        self._stdin.write(f"{line}\n".encode())
        self._stdin.flush()

    def received(self) -> str:
        said = self._stdout.read()
        if said == b"":
            raise EOFError("the command has ended")
        return (said or b"").decode(errors="replace")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._stdin.close()
        self._process.wait(10)
        self._stdout.close()
