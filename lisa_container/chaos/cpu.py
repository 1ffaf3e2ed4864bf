"""Fault `cpu`: processes that use the processors that a container may use."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

from lisa_container.chaos.cgroup import end_processes, read_figure, start_process
from lisa_container.chaos.fault import Fault, Figures
from lisa_container.chaos.target import Target
from lisa_container.config.checks import illegal

# Share of a processor that a worker must get, for an effect: others compete for it.
_SHARE = 0.1
# Seconds over which the use of processors is measured.
_PERIOD = 1.0


@dataclass(frozen=True)
class CpuStress(Fault):
    """Use processors in the cgroup of a container: they count towards its limit.

    Attributes:
        workers: Number of processes that use a processor each, as far as they get one.
    """

    kind: ClassVar[str] = "cpu"

    workers: int = 1

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        if not 1 <= self.workers <= 1024:
            raise illegal("workers", self.workers, "a number of processes, from 1 to 1024")

    def measure(self, target: Target) -> Figures:
        """Return the processors that the container uses, by the kernel's account."""
        begin, start = _used(target), time.monotonic()
        time.sleep(_PERIOD)
        return ((_used(target) - begin) / (time.monotonic() - start),)

    def strike(self, target: Target, id: str) -> None:
        """Start the workers."""
        loop = "while :; do :; done"
        start_process(target, id, f"{f'({loop}) & ' * (self.workers - 1)}{loop}")

    def undo(self, target: Target, id: str) -> str:
        """Return a script that kills the workers."""
        return end_processes(id)

    def missing(self, target: Target, before: Figures) -> str:
        """Return why the effect is not seen: the container uses no more processors than before."""
        grown = self.measure(target)[0] - before[0]
        return f"{target} uses only {grown:.2f} processors more" if grown < _SHARE else ""


def _used(target: Target) -> float:
    """Return the processor time of a container in seconds."""
    text = read_figure(target, "cpu.stat", "cpuacct.usage", r"^(?:usage_usec )?(\d+)$")
    return text / (1e9 if _is_version_1(target) else 1e6)


def _is_version_1(target: Target) -> bool:
    return "memory" in target.run(f"cut -d: -f2 /proc/{target.pid}/cgroup")
