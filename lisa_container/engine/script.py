"""Shell scripts on a node, with the result that the node's own `sh` gives.

LISA's `execute` passes a script as a quoted word through the user's login shell. If the user's
start files print something, or the login shell is fish or csh, LISA falls back to a way that
quotes less, and the script arrives changed. Here it goes to `sh` by stdin.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import IO

import paramiko
from lisa.node import Node
from lisa.util.shell import SshShell

from lisa_container.engine.ssh import (
    CHANNEL_TIMEOUT,
    address_of,
    open_command,
    read_command,
    ssh_shell_of,
    transport_of,
)
from lisa_container.engine.waiting import SLICE
from lisa_container.errors import EngineError, SshLostError, SudoError
from lisa_container.naming import node_name

# Bytes to read at once.
_CHUNK = 256 * 1024

_NO_STDIN = "</dev/null"

# The script is a word of a shell of its own, so that it is run as by `sh -c`, whatever is in it.
# Standard error is collected in a variable and printed at the end, since what the user's start
# files print there, or a terminal, would mix with it.
_WRAPPED = """lisa_container_s=$(cat <<'{token}'
{script}
{token}
)
exec 3>&1
lisa_container_e=$(sh -c "$lisa_container_s" 2>&1 >&3 3>&- {stdin})
printf '\\n{token} %s\\n%s' "$?" "$lisa_container_e" """


@dataclass(frozen=True)
class ScriptResult:
    """Result of a script.

    Attributes:
        exit_code: exit code of the script.
        stdout_bytes: its standard output.
        stderr: its standard error, without blanks around it.
    """

    exit_code: int
    stdout_bytes: bytes
    stderr: str

    @property
    def stdout(self) -> str:
        """Standard output as text, without blanks around it."""
        return self.stdout_bytes.decode(errors="replace").strip()

    @property
    def output(self) -> str:
        """Standard output and standard error, for messages."""
        return f"{self.stdout}\n{self.stderr}".strip()


def run_script(
    node: Node,
    script: str,
    sudo: bool = False,
    timeout: float = CHANNEL_TIMEOUT,
    stdin: IO[bytes] | None = None,
) -> ScriptResult:
    """Run a script with the node's `sh`. Neither script nor output is logged.

    Args:
        node: a local node, or a remote one that is reached over SSH.
        script: any shell script.
        sudo: run it as root, unless the node's user is root.
        timeout: seconds that it may take.
        stdin: file of this machine that the script reads; None: its stdin is empty.

    Raises:
        ConfigError: the node is a container.
        SudoError: sudo refused.
        SshLostError: the node cannot be reached.
        EngineError: the script did not end in time, or was killed.
    """
    node.initialize()
    token = secrets.token_hex(8)
    redirection = _NO_STDIN if stdin is None else ""
    wrapped = _WRAPPED.format(script=script, token=token, stdin=redirection)
    if node.shell.is_remote:
        output = _run_remote(ssh_shell_of(node), wrapped, sudo, timeout, stdin)
    else:
        output = _run_local(wrapped, sudo, timeout, stdin)
    if output is None:
        raise EngineError(
            f"a script on node '{node_name(node)}' did not end in {timeout:g} seconds. It may "
            f"still run there: {script[:100]!r}"
        )
    stdout, mark, rest = output.rpartition(f"\n{token} ".encode())
    if not mark:
        raise EngineError(
            f"a script on node '{node_name(node)}' ended before its end, perhaps by a signal: "
            f"{script[:100]!r}. Its output: {output[-1000:].decode(errors='replace')!r}"
        )
    code, _, stderr = rest.partition(b"\n")
    return ScriptResult(int(code), stdout, stderr.decode(errors="replace").strip())


def _run_remote(
    shell: SshShell, script: str, sudo: bool, timeout: float, stdin: IO[bytes] | None
) -> bytes | None:
    """Return the output; None after the time limit."""
    password = shell.connection_info.password or None
    try:
        transport = transport_of(shell)
        sudo = sudo and read_command(transport, "id -u") != "0"
        data = b"" if stdin is None else None
        with open_command(transport, script, sudo, password, data) as channel:
            if stdin is not None:
                # In a thread, since the script may print before it has read all of its stdin.
                feeder = threading.Thread(target=_feed, args=(channel, stdin), daemon=True)
                feeder.start()
            output = _read(channel, time.monotonic() + timeout)
        if not transport.is_active():
            raise EOFError("the connection ended before the script did")
        return output
    except EngineError:
        raise
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise SshLostError(address_of(shell), error) from error


def _read(channel: paramiko.Channel, deadline: float) -> bytes | None:
    # In slices, so that a time limit of LISA's case gets through.
    channel.settimeout(SLICE)
    pieces: list[bytes] = []
    while time.monotonic() < deadline:
        with contextlib.suppress(socket.timeout):
            piece = channel.recv(_CHUNK)
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
    return None


def _feed(channel: paramiko.Channel, stdin: IO[bytes]) -> None:
    with contextlib.suppress(OSError):  # the script ended early; its output has the reason
        while piece := stdin.read(_CHUNK):
            while piece:
                # The reader's time limit holds for the whole channel, and a full one only waits.
                with contextlib.suppress(socket.timeout):
                    piece = piece[channel.send(piece) :]
        channel.shutdown_write()


def _run_local(script: str, sudo: bool, timeout: float, stdin: IO[bytes] | None) -> bytes | None:
    # -n: never prompt on the terminal that LISA was started from.
    words = ["sudo", "-n", "--"] if sudo and os.geteuid() != 0 else []
    try:
        encoded = script.encode("utf-8", "surrogateescape")
        done = subprocess.run(
            [*words, "sh", *(() if stdin is None else ("-c", encoded))],
            stdin=stdin,
            input=encoded if stdin is None else None,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    except OSError as error:
        raise EngineError(f"a command on this machine failed: {error}") from error
    if done.returncode and not done.stdout and words:
        raise SudoError(done.stderr.decode(errors="replace").strip())
    return done.stdout
