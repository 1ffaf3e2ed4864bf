"""Cost per container as their number grows.

1, 10, 100 and 300 containers run on one node, started by `start_all`, and each has run a command.
For each number, the start of one more container, a command in one of them, and the runner's
resident memory are compared with one container. All of it happens in one process over one SSH
connection, as a user with sudo. The engine becomes slower too, so each start is also compared with
the SDK on the engine's own socket at the same number.
"""

from __future__ import annotations

import itertools
from statistics import median

from bench import memory, raw
from bench.result import Line
from bench.settings import settings_of
from bench.stage import BUSYBOX, Login, Stage, in_process
from bench.timing import Stopwatch, interleave
from lisa_container import ContainerExecutor, ContainerTestConfig, start_all, stop_all

CONFIG = ContainerTestConfig(image=BUSYBOX)
RAW = "SDK on the node's own socket, at the same number"
_STARTS = 10
_COMMANDS = 300


def measure(stage: Stage) -> list[Line]:
    """Measure the row."""
    sizes = (1, 10, 100, 300) if not stage.quick else (1, 3)
    found = in_process(_grow, stage.user, stage.socket, sizes)
    lines = []
    for size, numbers in zip(sizes, found):
        with_all = f"with {size} containers" if size > 1 else "with 1 container"
        lines.append(
            Line(f"start, {with_all}", numbers["start"], RAW, numbers["raw"], samples=_STARTS)
        )
    for what, unit in (("start", "s"), ("command", "s"), ("memory", "MiB")):
        for size, numbers in zip(sizes[1:], found[1:]):
            lines.append(
                Line(
                    f"{what}, with {size} containers",
                    numbers[what],
                    "with 1 container",
                    found[0][what],
                    unit=unit,
                    samples={"start": _STARTS, "command": _COMMANDS}.get(what, 1),
                )
            )
    return lines


def _grow(login: Login, socket: str, sizes: tuple[int, ...]) -> list[dict[str, float]]:
    """Return the numbers for each size."""
    executors: list[ContainerExecutor] = []
    found = []
    api = raw.open_api(socket)
    with login.node() as node:
        try:
            for size in sizes:
                more = [ContainerExecutor(node, CONFIG) for _ in range(size - len(executors))]
                executors += more
                start_all(more)
                for executor in more:
                    _run(executor)
                assert len(api.containers(quiet=True)) == size
                took = memory.resident()
                settings = settings_of(executors[0])

                def ours(watch: Stopwatch) -> None:
                    executor = ContainerExecutor(node, CONFIG)
                    with watch():
                        executor.start()
                    executor.stop()

                def bare(watch: Stopwatch, settings: dict[str, object] = settings) -> None:
                    with watch():
                        container = raw.create_and_start(api, settings)
                    raw.remove(api, container)

                starts = interleave({"start": ours, "raw": bare}, _STARTS)
                commands = Stopwatch()
                for executor in itertools.islice(itertools.cycle(executors), _COMMANDS):
                    with commands():
                        _run(executor)
                numbers = {name: median(watch.samples[""]) for name, watch in starts.items()}
                found.append({**numbers, "command": commands.median(), "memory": took})
        finally:
            stop_all(executors)
    return found


def _run(executor: ContainerExecutor) -> None:
    assert executor.run(["/bin/true"]).exit_code == 0
