"""What a fresh container for each case costs.

A suite of cases that run one command in their container and then work for 0.3 s, by `lisa -r`:
with `scope: case`, where each has a container of its own, beside `scope: suite`, where all share
one. Measured is the time from the begin of a case to the begin of the next one, so that making
and removing containers counts wherever it happens, and LISA's own work between cases in both
alike.
"""

from __future__ import annotations

from bench.lisa_runs import run_suite
from bench.result import Line, Of, Target
from bench.stage import Stage
from bench.timing import Stopwatch, Way, interleave


def measure(stage: Stage) -> list[Line]:
    cases = stage.pick(20, 3)

    def way(suite: str) -> Way:
        def run(watch: Stopwatch) -> None:
            watch.samples[""] += run_suite(stage, suite, cases)

        return run

    found = interleave({"fresh": way("Fresh"), "shared": way("Shared")}, stage.pick(3, 1), False)
    return [
        Line(
            "a case of 0.3 s, scope: case",
            found["fresh"].median(),
            "the same, scope: suite",
            found["shared"].median(),
            target=Target(0.03, Of.DIFFERENCE),
            samples=len(found["fresh"].samples[""]),
        )
    ]
