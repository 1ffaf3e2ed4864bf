"""The monitor's share of a processor.

50 idle containers are sampled once a second, over one SSH connection as a user with sudo: the
processor time that the monitor's program on the node has used, divided by the time. The alternative
is the engine's own way, `docker stats`: the processor time of dockerd and containerd, which compute
the figures, without that of the command line.
"""

from __future__ import annotations

import time

from bench.result import Line, Of, Target
from bench.stage import BUSYBOX, Stage
from lisa_container import ContainerExecutor, ContainerTestConfig, start_all, stop_all
from lisa_container.monitor import Monitor

CONFIG = ContainerTestConfig(image=BUSYBOX)
# User and system time of the engine's processes, in ticks of 10 ms (proc(5), /proc/PID/stat).
_TICKS = (
    "cat /proc/[0-9]*/stat 2>/dev/null | "
    "awk '$2 ~ /^.(dockerd|containerd).$/ { sum += $14 + $15 } END { print sum }'"
)
_TICK = 0.01


def measure(stage: Stage) -> list[Line]:
    """Measure the row."""
    count, seconds = stage.pick(50, 2), stage.pick(30, 2)
    with stage.user.node() as node:
        boxes = start_all(ContainerExecutor(node, CONFIG) for _ in range(count))
        try:
            with Monitor(node) as monitor:
                time.sleep(2)  # until all are known by name
                monitor.snapshot()
                used, begin = monitor.overhead, time.monotonic()
                time.sleep(seconds)
                monitor.snapshot()
                ours = (monitor.overhead - used) / (time.monotonic() - begin)
            ticks, begin = int(stage.machine.run(_TICKS).stdout), time.monotonic()
            stage.machine.run(f"timeout {seconds} docker stats >/dev/null || :")
            theirs = int(stage.machine.run(_TICKS).stdout) - ticks
            share = theirs * _TICK / (time.monotonic() - begin)
        finally:
            stop_all(boxes)
    what = f"{count} containers at 1 s: processors used"
    target = Target(0.01, Of.VALUE)
    return [Line(what, ours, "docker stats", share, unit="cores", target=target, samples=seconds)]
