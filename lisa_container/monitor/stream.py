"""Stream of figures from one node: a small program there prints them."""

from __future__ import annotations

import importlib.resources
import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from lisa_container.engine.client import Engine
from lisa_container.engine.lease.lease import Lease
from lisa_container.engine.lease.shell import NodeCommand, shell_of
from lisa_container.engine.lease_id import TAG
from lisa_container.errors import EngineError

# Interpreters that a node may have. -I: root must not import modules from the user's home. Red Hat
# 8 always has the second one, but not the first.
_INTERPRETERS = ("python3", "/usr/libexec/platform-python")
_VARIABLE = "LISA_CONTAINER_MONITOR"
_LOADER = f"import os; exec(os.environ.pop('{_VARIABLE}'))"
# Bytes of a line that does not end.
_LONGEST = 16 << 20


class UsageStream:
    """Program on a node that prints what its containers use.

    Args:
        engine: Engine of the node.
        interval: Seconds between two samples.

    Raises:
        EngineError: The node has no Python.
        SshLostError: The node cannot be reached.
    """

    def __init__(self, engine: Engine, interval: float) -> None:
        """Start the program."""
        self._engine = engine
        self._interval = interval
        self._rest = ""
        shell = shell_of(engine)
        find = "; ".join(f"command -v {each}" for each in _INTERPRETERS)
        found = shell.run(f"{{ {find}; }} 2>/dev/null").split()
        if not found:
            raise EngineError(
                f"node '{engine.name}' has no Python, which the monitor needs there: install the "
                "package python3"
            )
        text = importlib.resources.files(__package__).joinpath("program.py.txt").read_text("ascii")
        lease = Lease.of(engine)
        lease.labels()  # the program ends with the lease at the latest
        # By a variable, so that a list of processes is not filled with the program.
        variables = [f"{TAG}={lease.id}", f"{_VARIABLE}={text}"]
        words = [found[0], "-I", "-c", _LOADER, f"{interval:g}"]
        self._command: NodeCommand = shell.start(f"exec env {shlex.join(variables + words)}")

    def lines(self) -> Iterator[Mapping[str, Any]]:
        """Yield the lines that have come since the last call, without waiting.

        Raises:
            EOFError: The program has ended, or the connection.
            EngineError: It prints something else.
        """
        self._rest += self._command.receive()
        *lines, self._rest = self._rest.split("\n")
        try:
            for line in lines:
                yield dict(json.loads(line))
        except (ValueError, TypeError) as error:
            raise EngineError(
                f"the monitor of node '{self._engine.name}' prints something else than figures"
            ) from error
        if len(self._rest) > _LONGEST:
            raise EngineError(f"the monitor of node '{self._engine.name}' prints an endless line")

    def ask(self, number: int) -> None:
        """Ask for a sample at once.

        Args:
            number: Number that the samples from then on have as `asked`.

        Raises:
            OSError, paramiko.SSHException: The program or the connection has ended.
        """
        self._command.send(str(number))

    def close(self) -> None:
        """End the program."""
        self._command.close()
