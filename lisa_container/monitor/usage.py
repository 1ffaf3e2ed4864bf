"""Figures of containers and nodes, as the program on the node prints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ContainerUsage:
    """Resources that a container has used since its start. None: the kernel does not tell.

    Sources: cgroups(7), `cpu.stat`, `memory.*`, `io.stat` and so on; proc(5), `net/dev`.

    Attributes:
        id: Id of the container.
        name: Its name; the beginning of the id where the engine no longer knew it.
        time: Time of the sample by the node's clock, in seconds since 1970.
        is_final: Whether the container had ended.
        cpu: Processor time in seconds.
        user: Processor time outside of the kernel in seconds.
        system: Processor time in the kernel in seconds.
        periods: Periods of its processor limit.
        throttled_periods: Periods in which it was throttled.
        throttled: Seconds in which it was throttled.
        memory: Working set in bytes: memory without the file cache that is easily freed.
        current: Memory with the file cache in bytes.
        peak: Largest `current` in bytes; cgroup version 2 has it since Linux 5.19.
        limit: Limit of its memory in bytes; None means no limit.
        oom_kills: Processes that the kernel has killed at the limit.
        pids: Processes and threads now.
        read: Bytes read from block devices.
        written: Bytes written to block devices.
        reads: Read operations on block devices.
        writes: Write operations on block devices.
        cpu_pressure: Seconds in which a task waited for a processor (PSI, "some").
        memory_pressure: Seconds in which a task waited for memory.
        io_pressure: Seconds in which a task waited for I/O.
        received: Bytes received; None in the network of the node.
        sent: Bytes sent; None in the network of the node.
    """

    id: str
    name: str
    time: float
    is_final: bool
    cpu: float | None
    user: float | None
    system: float | None
    periods: int | None
    throttled_periods: int | None
    throttled: float | None
    memory: int | None
    current: int | None
    peak: int | None
    limit: int | None
    oom_kills: int | None
    pids: int | None
    read: int | None
    written: int | None
    reads: int | None
    writes: int | None
    cpu_pressure: float | None
    memory_pressure: float | None
    io_pressure: float | None
    received: int | None
    sent: int | None


@dataclass(frozen=True)
class NodeUsage:
    """Resources that a node has used since its boot.

    Attributes:
        time: Time of the sample by the node's clock, in seconds since 1970.
        cpu: Processor time of all its processors in seconds.
        processors: Number of its processors.
        load: Load average of the last minute.
        memory: Memory in bytes that is not available for new programs.
        limit: All its memory in bytes.
        received: Bytes received by all interfaces but `lo`.
        sent: Bytes sent by them.
        cpu_pressure: Seconds in which a task waited for a processor; None without PSI.
        memory_pressure: Seconds in which a task waited for memory; None without PSI.
        io_pressure: Seconds in which a task waited for I/O; None without PSI.
    """

    time: float
    cpu: float
    processors: int
    load: float
    memory: int
    limit: int
    received: int
    sent: int
    cpu_pressure: float | None
    memory_pressure: float | None
    io_pressure: float | None


@dataclass(frozen=True)
class Snapshot:
    """Figures of a node and its containers at one time.

    Attributes:
        time: Time by the node's clock, in seconds since 1970.
        node: Figures of the node.
        containers: Last figures of each container that was seen so far, by its id; also of those
            that have ended.
    """

    time: float
    node: NodeUsage
    containers: Mapping[str, ContainerUsage]

    def __getitem__(self, name: str) -> ContainerUsage:
        """Return the figures of a container; of several of one name, those of the last.

        Args:
            name: Name or id of the container.

        Raises:
            KeyError: No container of this name was seen.
        """
        for each in reversed(list(self.containers.values())):
            if name in (each.name, each.id):
                return each
        raise KeyError(f"no container '{name}' was seen on the node")


def container_usage(
    id: str, name: str, time: float, is_final: bool, fields: Sequence[str], values: Sequence[Any]
) -> ContainerUsage:
    """Return the figures of a container.

    Args:
        id: Id of the container.
        name: Its name.
        time: Time of the sample.
        is_final: Whether the container had ended.
        fields: Names of the figures, from the program.
        values: The figures.
    """
    return ContainerUsage(id, name, time, is_final, **dict(zip(fields, values)))
