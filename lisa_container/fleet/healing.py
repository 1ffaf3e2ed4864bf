"""Replacement of dead members while a fleet runs."""

from __future__ import annotations

import threading
from typing import Protocol

from lisa.node import Node
from lisa.util.shell import SshShell

from lisa_container.engine.ssh import is_connected
from lisa_container.errors import ContainerError
from lisa_container.escaping import printable
from lisa_container.masking import Plain

# Seconds between two looks at the members: one request to each engine.
_PERIOD = 1.0
# Seconds to wait for the end of a replacement.
_END_TIMEOUT = 120.0


class Healed(Protocol):
    """Fleet whose members are replaced."""

    name: str
    nodes: list[Node]

    def replace_dead(self) -> list[str]:
        """Replace the members that have died; return their names."""


class Healer:
    """Thread that replaces members that have died.

    Args:
        fleet: The fleet.
    """

    def __init__(self, fleet: Healed) -> None:
        """Start the thread."""
        self._fleet = fleet
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="healer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a replacement that has begun is finished before."""
        self._stopping.set()
        self._thread.join(_END_TIMEOUT)

    def _serve(self) -> None:
        log, last = self._fleet.nodes[0].log, ""
        while not self._stopping.wait(_PERIOD):
            if not all(_is_connected(node) for node in self._fleet.nodes):
                continue
            try:
                replaced, reason = self._fleet.replace_dead(), ""
            except ContainerError as error:
                replaced, reason = [], printable(error)
            if replaced:
                log.info(Plain(f"fleet '{self._fleet.name}': replaced {', '.join(replaced)}"))
            if reason and reason != last:
                log.warning(
                    Plain(f"fleet '{self._fleet.name}': a member is not replaced yet: {reason}")
                )
            last = reason


def _is_connected(node: Node) -> bool:
    """Return whether LISA's connection is open; LISA closes it between cases, and opens it."""
    shell = node.shell
    return not isinstance(shell, SshShell) or is_connected(shell)
