"""A hundred containers at once.

`start_all` starts 100 executors, each runs a trivial command, and `stop_all` removes them, over one
SSH connection as a user with sudo. The alternatives are:

- the SDK on the engine's own socket without SSH, with the same settings: create, start and inspect;
  exec create, start and inspect; remove. It uses 8 processes, because Python's interpreter lock
  would slow threads down. (16 gained at most 2 % when they were a way of this row.)
- the docker CLI, with one container after the other in one SSH session: `docker run -d`, `docker
  exec`, `docker rm -f`.

The three phases do not overlap: commands run after all containers have started. 8 threads run the
commands. Two rounds, because a round takes minutes.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench import raw
from bench.raw import RawClients
from bench.result import Line, Target
from bench.settings import settings_of
from bench.stage import BUSYBOX, Stage
from bench.timing import Stopwatch, interleave
from lisa_container import ContainerExecutor, ContainerTestConfig, start_all, stop_all

CONFIG = ContainerTestConfig(image=BUSYBOX)
OURS = "ours"
RAW = "SDK on the node's own socket, 8 processes"
CLI = "docker CLI, one after the other in one SSH session"
PHASES = ("start", "command", "removal")
_THREADS = 8

_SCRIPT = """
set -e
for i in $(seq {count}); do docker run -d --init {image} sleep 2147483647; done >/tmp/ids
echo started $(sort -u /tmp/ids | wc -l)
for id in $(cat /tmp/ids); do docker exec $id /bin/true; done
echo ran
for id in $(cat /tmp/ids); do docker rm -f $id; done >/dev/null
"""


def measure(stage: Stage) -> list[Line]:
    """Measure the row."""
    count = stage.pick(100, 4)
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(stage.user.node())
        with ContainerExecutor(node, CONFIG) as container:
            settings = settings_of(container)
        api = stage.api()

        def ours(watch: Stopwatch) -> None:
            executors = [ContainerExecutor(node, CONFIG) for _ in range(count)]
            with watch("start"):
                start_all(executors)
            _check(api.containers(quiet=True), count)
            with watch("command"), ThreadPoolExecutor(_THREADS) as threads:
                results = list(threads.map(lambda each: each.run(["/bin/true"]), executors))
            assert [result.exit_code for result in results] == [0] * count
            with watch("removal"):
                stop_all(executors)
            _check(api.containers(all=True, quiet=True), 0)

        clients = stack.enter_context(RawClients(stage.socket, 8))

        def sdk(watch: Stopwatch) -> None:
            with watch("start"):
                containers = clients.each(raw.create_and_start, [settings] * count)
            _check(api.containers(quiet=True), count)
            with watch("command"):
                clients.each(raw.run, containers)
            with watch("removal"):
                clients.each(raw.remove, containers)
            _check(api.containers(all=True, quiet=True), 0)

        command = [*stage.machine.ssh_command("root"), _SCRIPT.format(count=count, image=BUSYBOX)]

        def cli(watch: Stopwatch) -> None:
            with watch("in all"):
                done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
            assert done.stdout.splitlines() == [f"started {count}", "ran"], done
            _check(api.containers(all=True, quiet=True), 0)

        rounds = stage.pick(2, 1)
        found = interleave({OURS: ours, RAW: sdk, CLI: cli}, rounds, warm_up=False)
    for name in (OURS, RAW):
        samples = found[name].samples
        samples["in all"] = [sum(phases) for phases in zip(*(samples[x] for x in PHASES))]

    def line(name: str, phase: str, other: str, limit: float | None) -> Line:
        return Line(
            f"{count} containers: {phase}" + (f", {name}" if name != OURS else ""),
            found[name].median(phase),
            other,
            found[other].median(phase),
            target=None if limit is None else Target(limit),
            samples=rounds,
        )

    limits = {"start": 1.15, "in all": 1.15}
    return [
        line(OURS, "in all", CLI, 0.5),
        line(RAW, "in all", CLI, None),
        *(line(OURS, phase, RAW, limits.get(phase)) for phase in ("in all", *PHASES)),
    ]


def _check(containers: Sequence[Any], count: int) -> None:
    assert len(containers) == count, f"{len(containers)} containers, expected {count}"
