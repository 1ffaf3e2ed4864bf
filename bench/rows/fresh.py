"""Cost of a fresh container for each case.

`lisa -r` runs a suite whose cases run one command in their container and then take 0.3 s. With
`scope: case`, each case has its own container; with `scope: suite`, all share one. The time from
the start of a case to the start of the next is measured. So it includes the creation and removal of
containers, and LISA's own work between cases.

Then `scope: suite` runs again while the SDK creates a container in each case and removes it at the
case's end, on the engine's own socket. This shows how much the engine's work slows the machine when
no case waits for it.
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

# Seconds from the start of a case to the removal of its container.
_CASE = 0.4


def measure(stage: Stage) -> list[Line]:
    """Measure the row."""
    cases = stage.pick(20, 3)

    def way(suite: str) -> Way:
        def run(watch: Stopwatch) -> None:
            watch.samples[""] += run_suite(stage, suite, cases)

        return run

    def beside(watch: Stopwatch) -> None:
        with _engine_at_work(stage) as record:
            watch.samples[""] += run_suite(stage, "Shared", cases, record)

    ways = {"fresh": way("Fresh"), "shared": way("Shared"), "beside": beside}
    watches = interleave(ways, stage.pick(3, 1), False)

    def line(ours: str, what: str, target: Target | None) -> Line:
        return Line(
            what,
            watches[ours].median(),
            "the same, scope: suite",
            watches["shared"].median(),
            target=target,
            samples=len(watches[ours].samples[""]),
        )

    return [
        line("fresh", "a case of 0.3 s, scope: case", Target(0.03, Of.DIFFERENCE)),
        line("beside", "a case of 0.3 s, scope: suite, the SDK makes containers", None),
    ]


@contextlib.contextmanager
def _engine_at_work(stage: Stage) -> Iterator[Path]:
    """Create a container for each new line in the yielded file, and remove it a little later."""
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
