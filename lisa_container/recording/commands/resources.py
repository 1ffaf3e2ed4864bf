"""Resources that a container uses while a command runs.

The container's shell reads the files of its cgroup (version 2 or 1, see cgroups(7)) with builtins
only, so that no program is started.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from lisa_container.parsing import parse_int
from lisa_container.recording.records import ResourceRecord

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
"""Script for the container's shell; `parse` reads its output."""


@dataclass(frozen=True)
class Sample:
    """Resources of a container since its start; None: the kernel does not report the value.

    Args:
        cpu: seconds on all CPUs.
        peak: peak of memory in bytes.
        memory: current memory in bytes.
        read: bytes read from block devices.
        written: bytes written to block devices.
    """

    cpu: float | None
    peak: int | None
    memory: int | None
    read: int | None
    written: int | None


def parse(output: str) -> Sample | None:
    """Parse the output of `SAMPLE`; return None if the container sees no cgroup of its own.

    Args:
        output: output of the script.
    """
    parts = re.split(r"^@(.*)\n", f"{output}\n", flags=re.M)
    files = dict(zip(parts[1::2], parts[2::2]))
    if _MEMORY_2 in files:
        usage = re.search(r"^usage_usec (\d+)$", files.get(_CPU_2, ""), re.M)
        used, unit = _number(usage[1] if usage else None), 1e6
        io, read, written = files.get(_IO_2), r"\brbytes=(\d+)", r"\bwbytes=(\d+)"
        peak = _number(files.get(_PEAK_2))
    elif _MEMORY_1 in files:
        used, unit = _number(files.get(_CPU_1)), 1e9
        io, read, written = files.get(_IO_1), r" Read (\d+)", r" Write (\d+)"
        peak = _number(files.get(_PEAK_1))
    else:
        return None
    memory = _number(files.get(_MEMORY_2, files.get(_MEMORY_1)))
    cpu = None if used is None else used / unit
    return Sample(cpu, peak, memory, _sum(read, io), _sum(written, io))


class Meters:
    """Meters of the commands of one container.

    Args:
        sample: takes a sample; returns None if that is not possible.
    """

    def __init__(self, sample: Callable[[], Sample | None]) -> None:
        """Begin without a running command."""
        self.sample = sample
        self._running: set[Meter] = set()
        self._lock = threading.Lock()

    def begin(self) -> Meter:
        """Return the meter of a command that is about to start."""
        meter = Meter(self)
        with self._lock:
            self._running.add(meter)
            if len(self._running) > 1:
                for each in self._running:
                    each.is_shared = True
        return meter

    def forget(self, meter: Meter) -> None:
        """Drop the meter of a command that has ended.

        Args:
            meter: the meter.
        """
        with self._lock:
            self._running.discard(meter)


class Meter:
    """Meter of one command.

    Args:
        meters: meters of the container.
    """

    def __init__(self, meters: Meters) -> None:
        """Take the first sample."""
        self.is_shared = False
        """Whether another command ran meanwhile."""
        self._meters = meters
        self._before = meters.sample()

    def end(self) -> ResourceRecord | None:
        """Return the resources used since the begin; None if unknown."""
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
    return parse_int(text) if text else None


def _sum(pattern: str, text: str | None) -> int | None:
    return None if text is None else sum(_number(x) or 0 for x in re.findall(pattern, text))
