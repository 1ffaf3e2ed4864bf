"""A whole suite in a container.

A stock LISA suite of 200 trivial cases (`node.execute("/bin/true")`) by `lisa -r`: as it is in a
container, by the guest `type: container` in the runbook, beside the bare node. Then the same
cases in a `ContainerTestSuite`, with `container.run`. Measured is the whole run of `lisa`, its
own start, and the container's making included, and the time from case to case; that again for the
last cases only, when few are still to come.

`BENCH_SUITE_CASES=50 make bench ROWS=suite` takes fewer cases.
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
    cases = stage.pick(int(os.environ.get("BENCH_SUITE_CASES", "200")), 3)
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
