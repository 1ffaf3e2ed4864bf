"""Fault `memory`: a process that takes memory of a container's limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lisa_container.chaos.cgroup import end_processes, read_figure, start_process
from lisa_container.chaos.fault import Fault, Figures
from lisa_container.chaos.target import Target
from lisa_container.config.checks import illegal
from lisa_container.config.limits import size_bytes

# Share of the memory that must be in use, for an effect.
_SHARE = 0.8


@dataclass(frozen=True)
class MemoryPressure(Fault):
    """Take memory in the cgroup of a container: it counts towards its limit.

    Past the limit, the kernel kills a process of the container, perhaps the one of the fault.

    Attributes:
        size: Memory to take, in bytes or as `200m`.
    """

    kind: ClassVar[str] = "memory"

    size: int | str = "64m"

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        try:
            is_legal = size_bytes(str(self.size)) > 0
        except (ValueError, KeyError, TypeError):
            is_legal = False
        if not is_legal:
            raise illegal("size", self.size, "a number of bytes, or a size such as 200m")

    def measure(self, target: Target) -> Figures:
        """Return the kernel's account of the memory, and of the kills at its limit."""
        kills = r"^oom_kill (\d+)$"
        return (
            read_figure(target, "memory.current", "memory.usage_in_bytes"),
            read_figure(target, "memory.events", "memory.oom_control", kills),
        )

    def strike(self, target: Target, id: str) -> None:
        """Start the process: `tail` keeps its last line, which does not end, in memory."""
        # The kernel then kills others first, if root may ask for that.
        spare = "echo -999 2>/dev/null >/proc/self/oom_score_adj || :"
        zeros = f"head -c {size_bytes(str(self.size))} /dev/zero"
        start_process(target, id, f"{spare}\n{{ {zeros}; exec sleep 2147483; }} | tail")

    def undo(self, target: Target, id: str) -> str:
        """Return a script that kills the process."""
        return end_processes(id)

    def missing(self, target: Target, before: Figures) -> str:
        """Return why the effect is not seen: the memory has not grown, and nothing was killed."""
        now = target.look()
        if now is None or now.started != target.started or not now.pid:
            return ""  # the kernel killed the container's own process
        used, kills = self.measure(target)
        grown = used - before[0]
        if kills > before[1] or grown >= _SHARE * size_bytes(str(self.size)):
            return ""
        return f"{target} uses only {grown:.0f} bytes more"
