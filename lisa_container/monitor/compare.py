"""Comparison of two snapshots: the resources that each container has used between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lisa_container.monitor.usage import ContainerUsage, Snapshot


@dataclass(frozen=True)
class Change:
    """Resources that a container has used between two snapshots. None: the kernel does not tell.

    Attributes:
        id: Id of the container.
        name: Its name. Two containers of one name have a change each.
        seconds: Time from the first snapshot, or from its start, to the last figures.
        has_begun: Whether it was not in the first snapshot.
        has_ended: Whether it had ended.
        cpu: Processor time in seconds.
        throttled: Seconds in which it was throttled.
        memory: Growth of its working set in bytes.
        oom_kills: Processes that the kernel has killed at its memory limit.
        read: Bytes read from block devices.
        written: Bytes written to block devices.
        received: Bytes received.
        sent: Bytes sent.
    """

    id: str
    name: str
    seconds: float
    has_begun: bool
    has_ended: bool
    cpu: float | None
    throttled: float | None
    memory: int | None
    oom_kills: int | None
    read: int | None
    written: int | None
    received: int | None
    sent: int | None

    @property
    def cores(self) -> float | None:
        """Processors that it has used on average; None for a time of nearly nothing."""
        return self.cpu / self.seconds if self.cpu is not None and self.seconds > 0 else None


def compare(before: Snapshot, after: Snapshot) -> list[Change]:
    """Return what each container has used between two snapshots of a node.

    Args:
        before: First snapshot.
        after: Later snapshot.

    Returns:
        A change for each container that ran meanwhile, in the order in which they were seen.
    """
    changes = []
    for id, last in after.containers.items():
        first = before.containers.get(id)
        if first is None or not first.is_final:
            changes.append(_change(first, last, before.time))
    return changes


def _change(first: ContainerUsage | None, last: ContainerUsage, since: float) -> Change:
    return Change(
        id=last.id,
        name=last.name,
        seconds=max(0.0, last.time - (first.time if first else since)),
        has_begun=first is None,
        has_ended=last.is_final,
        cpu=_growth("cpu", first, last),
        throttled=_growth("throttled", first, last),
        memory=_growth("memory", first, last),
        oom_kills=_growth("oom_kills", first, last),
        read=_growth("read", first, last),
        written=_growth("written", first, last),
        received=_growth("received", first, last),
        sent=_growth("sent", first, last),
    )


def _growth(figure: str, first: ContainerUsage | None, last: ContainerUsage) -> Any:
    """Return the growth of a figure, from 0 for a new container; None where it is not known."""
    before, after = getattr(first, figure, None) or 0, getattr(last, figure)
    return None if after is None else after - before
