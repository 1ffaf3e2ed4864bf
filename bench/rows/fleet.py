"""Fleets of containers.

A fleet of 20 members of one node is started, with a network of its own and a check that each member
answers over HTTP, and removed, over one SSH connection as a user with sudo. The times of start and
removal are those of the whole fleet, divided by its members. Then a member of a fleet that heals is
killed; the recovery is the time until another one of its name answers over HTTP.
"""

from __future__ import annotations

import statistics
import time

from bench.result import Line, Of, Target
from bench.stage import BUSYBOX, Stage
from lisa_container import ContainerTestConfig
from lisa_container.errors import ContainerError
from lisa_container.fleet import Fleet

WEB = ContainerTestConfig(
    image=BUSYBOX,
    command="httpd -f -p 80 -h /bin",
    init="engine",  # so that SIGTERM ends the server
    ready={"http": 80, "path": "/busybox"},
)
_ASK = "wget -q -O /dev/null http://web-1/busybox"


def measure(stage: Stage) -> list[Line]:
    """Measure the row."""
    count, rounds = stage.pick(20, 2), stage.pick(5, 1)
    starts, ends, recoveries = [], [], []
    with stage.user.node() as node:
        for number in range(rounds + 1):
            begin = time.monotonic()
            fleet = Fleet(node, WEB, count, "web").start()
            middle = time.monotonic()
            fleet.stop()
            if number:  # the first one also makes the image
                starts.append((middle - begin) / count)
                ends.append((time.monotonic() - middle) / count)
        with Fleet(node, WEB, 2, "web", heals=True) as fleet:
            for _ in range(rounds):
                victim = fleet["web-1"].id
                begin = time.monotonic()
                fleet["web-1"].kill()
                while fleet["web-1"].id == victim or not _answers(fleet):
                    time.sleep(0.01)
                recoveries.append(time.monotonic() - begin)

    def line(what: str, samples: list[float], limit: float) -> Line:
        target = Target(limit, Of.VALUE)
        return Line(what, statistics.median(samples), target=target, samples=rounds)

    return [
        line(f"{count} members: start, for each", starts, 0.5),
        line(f"{count} members: removal, for each", ends, 2),
        line("recovery from a killed member", recoveries, 10),
    ]


def _answers(fleet: Fleet) -> bool:
    try:
        return fleet["web-2"].run(_ASK).exit_code == 0
    except ContainerError:
        return False
