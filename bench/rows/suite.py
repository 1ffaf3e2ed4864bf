"""A whole suite in a container.

`lisa -r` runs a stock LISA suite of 20 trivial cases (`node.execute("/bin/true")`), unmodified: in
a container, as the guest `type: container` in the runbook, and on the bare node. The same cases run
in a `ContainerTestSuite` with `container.run`. The whole run of `lisa` is measured, including
its own start and the creation of the container. So is the time from case to case, for all cases and
for the last ones, when few cases remain.

`BENCH_SUITE_CASES=50 make bench ROWS=suite` runs more cases. Beware of 200: LISA then needs half an
hour for them in guests (see below).
"""

from __future__ import annotations

import os
from typing import Any

from bench.lisa_runs import run_suite
from bench.result import Line
from bench.stage import BUSYBOX, Stage
from bench.timing import Stopwatch, Way, interleave

BARE = "the same suite on the bare node"
GUEST = "in a guest of type container"
BY_RUN = "ContainerTestSuite, container.run"

_LAST = 5


def measure(stage: Stage) -> list[Line]:
    """Measure the row."""
    cases = stage.pick(int(os.environ.get("BENCH_SUITE_CASES", "20")), 3)
    guest = {"guest_enabled": True, "guests": [{"type": "container", "image": BUSYBOX}]}

    def way(suite: str, **platform: Any) -> Way:
        def run(watch: Stopwatch) -> None:
            with watch("whole"):
                periods = run_suite(stage, suite, cases, **platform)
            watch.samples["case"] += periods
            watch.samples["last"] += periods[-_LAST:]

        return run

    ways = {GUEST: way("OnNode", **guest), BARE: way("OnNode"), BY_RUN: way("ByRun")}
    rounds = stage.pick(2, 1)
    found = interleave(ways, rounds, warm_up=False)
    what = {
        "whole": f"{cases} cases",
        "case": "from case to case",
        "last": f"from case to case, the last {min(_LAST, cases - 1)}",
    }
    return [
        Line(
            f"{what[phase]}, {ours}",
            found[ours].median(phase),
            BARE,
            found[BARE].median(phase),
            samples=len(found[ours].samples[phase]),
        )
        for ours in (GUEST, BY_RUN)
        for phase in what
    ]
