"""Machines under test: anything on which commands run as root, such as a LISA node or a VM."""

from __future__ import annotations

import contextlib
import tempfile
import time
from typing import Protocol

from lisa.node import Node

from lisa_container.container.request import Stdin
from lisa_container.container.result import CommandResult
from lisa_container.engine.script import run_script
from lisa_container.errors import RuntimeCommandError
from lisa_container.naming import node_name

# Seconds of a command without a time limit: engine/script.py needs one.
_LONG = 24 * 3600.0


class Machine(Protocol):
    """Linux machine on which commands run as root.

    A `VmSession` is one. `machine_of` makes one of a LISA node.
    """

    @property
    def name(self) -> str:
        """Name of the machine, for messages."""

    def run(
        self,
        command: str,
        *,
        stdin: Stdin = None,
        timeout: float | None = 600,
        expected_exit_code: int | None = None,
    ) -> CommandResult:
        """Run a command as root and wait for its end.

        Args:
            command: Command for the machine's `sh -c`.
            stdin: Bytes, text or a binary file that the command reads.
            timeout: Seconds that the command may take; None means no limit.
            expected_exit_code: Raise AssertionError if the command ends with another one.
        """


class NodeMachine:
    """Machine that is a LISA node. Commands run as root, by sudo if the node's user is another.

    Args:
        node: The node: local, or reached over SSH.
    """

    def __init__(self, node: Node) -> None:
        """Run nothing yet."""
        self._node = node

    @property
    def name(self) -> str:
        """Name of the node, or its address."""
        return node_name(self._node)

    def run(
        self,
        command: str,
        *,
        stdin: Stdin = None,
        timeout: float | None = 600,
        expected_exit_code: int | None = None,
    ) -> CommandResult:
        """Run a command as root and wait for its end; see `Machine.run`.

        Raises:
            EngineError: The command did not end in time; it may run on.
            SshLostError: The node cannot be reached.
            SudoError: sudo refused.
            AssertionError: The exit code was not the expected one.
        """
        started = time.monotonic()
        seconds = _LONG if timeout is None else timeout
        with contextlib.ExitStack() as stack:
            if isinstance(stdin, (bytes, str)):
                file = stack.enter_context(tempfile.TemporaryFile())
                file.write(stdin.encode() if isinstance(stdin, str) else stdin)
                file.seek(0)
                stdin = file
            done = run_script(self._node, command, sudo=True, timeout=seconds, stdin=stdin)
        result = CommandResult(
            done.stdout,
            done.stderr,
            done.exit_code,
            command,
            self.name,
            time.monotonic() - started,
            stdout_bytes=done.stdout_bytes,
            stderr_bytes=done.stderr.encode(),
        )
        if expected_exit_code is not None:
            result.assert_exit_code(expected_exit_code)
        return result


def machine_of(target: Node | Machine) -> Machine:
    """Return the machine to run commands on.

    Args:
        target: A LISA node, whose user is root or has sudo, or a machine, which is returned as it
            is.
    """
    return NodeMachine(target) if isinstance(target, Node) else target


def run_checked(
    machine: Machine,
    what: str,
    command: str,
    stdin: Stdin = None,
    timeout: float | None = 600,
) -> CommandResult:
    """Run a command that must succeed.

    Args:
        machine: Machine to run it on.
        what: Action for the error's message, as in "cannot …".
        command: Command for the machine's `sh -c`.
        stdin: Bytes, text or a binary file that the command reads.
        timeout: Seconds that it may take; None means no limit.

    Raises:
        RuntimeCommandError: The command failed.
    """
    result = machine.run(command, stdin=stdin, timeout=timeout)
    if result.exit_code:
        output = f"{result.stdout}\n{result.stderr}"
        raise RuntimeCommandError(what, machine.name, output, int(result.exit_code))
    return result
