"""What a fresh container for each case costs.

A suite of cases that run one command in their container and then work for 0.3 s, by `lisa -r`:
with `scope: case`, where each has a container of its own, beside `scope: suite`, where all share
one. Measured is the time from the begin of a case to the begin of the next one, so that making
and removing containers counts wherever it happens, and LISA's own work between cases in both
alike.

Then `scope: suite` once more, while the SDK, on the engine's own socket and by another process,
makes a container in each case and removes it at its end, as `scope: case` does: what the engine's
work for them takes from the machine when nobody waits for it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench import raw
from bench.lisa_runs import run_suite
from bench.result import Line, Of, Target
from bench.settings import settings_of
from bench.stage import BUSYBOX, Stage
from bench.timing import Stopwatch, Way, interleave
from lisa_container import ContainerExecutor, ContainerTestConfig

# How long (seconds) after the begin of a case its container goes: when it has ended.
_CASE = 0.4


def measure(stage: Stage) -> list[Line]:
    cases = stage.pick(20, 3)

    def way(suite: str) -> Way:
        def run(watch: Stopwatch) -> None:
            watch.samples[""] += run_suite(stage, suite, cases)

        return run

    def beside(watch: Stopwatch) -> None:
        with _engine_at_work(stage) as record:
            watch.samples[""] += run_suite(stage, "Shared", cases, record)

    ways = {"fresh": way("Fresh"), "shared": way("Shared"), "beside": beside}
    found = interleave(ways, stage.pick(3, 1), False)

    def line(ours: str, what: str, target: Target | None) -> Line:
        return Line(
            what,
            found[ours].median(),
            "the same, scope: suite",
            found["shared"].median(),
            target=target,
            samples=len(found[ours].samples[""]),
        )

    return [
        line("fresh", "a case of 0.3 s, scope: case", Target(0.03, Of.DIFFERENCE)),
        line("beside", "a case of 0.3 s, scope: suite, the SDK makes containers", None),
    ]


@contextlib.contextmanager
def _engine_at_work(stage: Stage) -> Iterator[Path]:
    """While it lasts, each line in the file has a container made, and removed some time later."""
    record = stage.folder / "begins"
    record.write_text("")
    is_over = threading.Event()
    with stage.user.node() as node, contextlib.closing(stage.api()) as api:
        with ContainerExecutor(node, ContainerTestConfig(image=BUSYBOX)) as example:
            settings = settings_of(example)

        def work() -> None:
            seen = 0
            while not is_over.wait(0.005):
                begins = len(record.read_text().splitlines())
                if begins == seen:
                    continue
                begun, seen = time.monotonic(), begins
                container = raw.create_and_start(api, settings)
                is_over.wait(max(0.0, begun + _CASE - time.monotonic()))
                raw.remove(api, container)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield record
        finally:
            is_over.set()
            thread.join()
            record.unlink()
