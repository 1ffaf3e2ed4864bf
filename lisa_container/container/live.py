"""Containers of this process that may still exist on a node."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lisa.node import Node

from lisa_container.engine.client import Engine
from lisa_container.engine.dial import is_reachable
from lisa_container.engine.lease.lease import Lease
from lisa_container.forks import Belongings

if TYPE_CHECKING:
    from lisa_container.container.container import Container

live: Belongings[Container] = Belongings()
"""Containers that may exist. Those that LISA did not remove are removed when the process ends."""

# A hundred containers may be removed at once, and sshd starts a process for each check whether the
# node answers: an answer counts for this long (seconds).
_ANSWER_AGE = 2.0


@dataclass
class _LastAnswer:
    """Time of the last answer of an engine's node, by `time.monotonic`."""

    time: float = float("-inf")


def node_answers(engine: Engine) -> bool:
    """Return whether the engine's node answers now, or did so a moment ago."""
    if time.monotonic() - engine.state(_LastAnswer).time < _ANSWER_AGE:
        return True
    is_answering = is_reachable(engine.node)
    if is_answering:
        note_answer(engine)
    return is_answering


def note_answer(engine: Engine) -> None:
    """Note that the engine has answered just now."""
    engine.state(_LastAnswer).time = time.monotonic()


def release_lease(node: Node) -> None:
    """End this run's lease on a node, unless one of its containers may still exist.

    Args:
        node: Node whose environment is being cleaned up.
    """
    lease = Lease.existing(node)
    if lease is not None and not any(container.host is node for container in live):
        lease.release()
