"""What a container uses while a command runs in it.

The container's own shell reads that in the files of its control group, by its builtins alone: no
program is started for it. The files are those of cgroups(7), version 2 and version 1.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from lisa_container.capture.records import ResourceRecord

_FOLDER = "/sys/fs/cgroup"
_CPU_2, _PEAK_2, _MEMORY_2, _IO_2 = "cpu.stat", "memory.peak", "memory.current", "io.stat"
_CPU_1, _PEAK_1 = "cpuacct/cpuacct.usage", "memory/memory.max_usage_in_bytes"
_MEMORY_1, _IO_1 = "memory/memory.usage_in_bytes", "blkio/blkio.throttle.io_service_bytes"
N = TypeVar("N", int, float)

_FILES = (_CPU_2, _PEAK_2, _MEMORY_2, _IO_2, _CPU_1, _PEAK_1, _MEMORY_1, _IO_1)

SAMPLE = f"""for f in {" ".join(_FILES)}; do
[ -r {_FOLDER}/$f ] || continue
echo "@$f"
while read -r l; do echo "$l"; done <{_FOLDER}/$f
done"""
"""What the container's shell is given; its output is for `parse`."""


@dataclass(frozen=True)
class Sample:
    """Numbers of a container; None where the kernel does not tell.

    Args:
        cpu: seconds since its start.
        peak: the most memory it ever had, in bytes.
        memory: what it has now.
        read: bytes read from block devices.
        written: bytes written to them.
    """

    cpu: float | None
    peak: int | None
    memory: int | None
    read: int | None
    written: int | None


def parse(said: str) -> Sample | None:
    """What a container's shell said; None where it sees no control group of its own."""
    parts = re.split(r"^@(.*)\n", f"{said}\n", flags=re.M)
    files = dict(zip(parts[1::2], parts[2::2]))
    if _MEMORY_2 in files:
        usage = re.search(r"^usage_usec (\d+)$", files.get(_CPU_2, ""), re.M)
        cpu = int(usage[1]) / 1e6 if usage else None
        io, read, written = files.get(_IO_2), r"\brbytes=(\d+)", r"\bwbytes=(\d+)"
        peak = _number(files.get(_PEAK_2))
    elif _MEMORY_1 in files:
        used = _number(files.get(_CPU_1))
        cpu = used / 1e9 if used is not None else None
        io, read, written = files.get(_IO_1), r" Read (\d+)", r" Write (\d+)"
        peak = _number(files.get(_PEAK_1))
    else:
        return None
    memory = _number(files.get(_MEMORY_2, files.get(_MEMORY_1)))
    return Sample(cpu, peak, memory, _sum(read, io), _sum(written, io))


class Meters:
    """Measures the commands of one container.

    Args:
        sample: takes a sample, or gives None where that is not possible.
    """

    def __init__(self, sample: Callable[[], Sample | None]) -> None:
        self.sample = sample
        self._running: set[Meter] = set()
        self._lock = threading.Lock()

    def begin(self) -> Meter:
        """A command is about to start."""
        meter = Meter(self)
        with self._lock:
            self._running.add(meter)
            if len(self._running) > 1:
                for each in self._running:
                    each.is_shared = True
        return meter

    def forget(self, meter: Meter) -> None:
        """Its command has ended."""
        with self._lock:
            self._running.discard(meter)


class Meter:
    """Measures one command.

    Args:
        meters: of the container.
    """

    def __init__(self, meters: Meters) -> None:
        self.is_shared = False
        """Another command ran meanwhile."""
        self._meters = meters
        self._before = meters.sample()

    def end(self) -> ResourceRecord | None:
        """What was used since."""
        self._meters.forget(self)
        before = self._before
        after = self._meters.sample() if before is not None else None
        if before is None or after is None:
            return None
        is_new_peak = after.peak is not None and after.peak > (before.peak or 0)
        cpu = _difference(before.cpu, after.cpu)
        return {
            "cpu": None if cpu is None else round(cpu, 6),
            "memory_peak": after.peak if is_new_peak else after.memory,
            "read": _difference(before.read, after.read),
            "written": _difference(before.written, after.written),
            "shared": self.is_shared,
        }


def _difference(before: N | None, after: N | None) -> N | None:
    return None if before is None or after is None else after - before


def _number(text: str | None) -> int | None:
    return int(text) if text and text.strip().isdigit() else None


def _sum(pattern: str, text: str | None) -> int | None:
    return None if text is None else sum(map(int, re.findall(pattern, text)))
