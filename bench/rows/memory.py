"""Memory of the runner.

The resident memory (VmRSS after a garbage collection) of a process that does only this, as a user
with sudo:

- per container: the increase from 50 more running containers, divided by 50. Each has run a command
  and is ready for the next;
- per 1,000 commands: the increase from the first 1,000 commands in one container, after 100 to warm
  up; then the increase from 9,000 more, divided by 9.
"""

from __future__ import annotations

import contextlib

from bench import memory
from bench.result import Line, Of, Target
from bench.stage import BUSYBOX, Login, Stage, in_process
from lisa_container import ContainerExecutor, ContainerTestConfig

CONFIG = ContainerTestConfig(image=BUSYBOX)
_WARM_UP = 100


def measure(stage: Stage) -> list[Line]:
    """Measure the row."""
    count, first, more = stage.pick(50, 3), stage.pick(1000, 20), stage.pick(9000, 20)
    containers = in_process(_per_container, stage.user, count)
    commands = in_process(_per_commands, stage.user, (first, more))
    target = Target(10, Of.VALUE)
    return [
        Line(
            f"a container, of {count}",
            containers / count,
            unit="MiB",
            target=Target(1, Of.VALUE),
            samples=count,
        ),
        Line("1,000 commands, the first", commands[0] / first * 1000, unit="MiB", target=target),
        Line(
            f"1,000 commands, of {more:,} further",
            commands[1] / more * 1000,
            unit="MiB",
            target=target,
        ),
    ]


def _per_container(login: Login, count: int) -> float:
    """Return the MiB that a number of containers adds."""
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(login.node())

        def add() -> ContainerExecutor:
            container = stack.enter_context(ContainerExecutor(node, CONFIG))
            _run(container)
            return container

        for _ in range(3):
            add()
        before = memory.resident()
        for _ in range(count):
            add()
        return memory.resident() - before


def _per_commands(login: Login, counts: tuple[int, ...]) -> list[float]:
    """Return the MiB that each number of commands adds, one after the other."""
    increases = []
    with login.node() as node, ContainerExecutor(node, CONFIG) as container:
        for _ in range(_WARM_UP):
            _run(container)
        for count in counts:
            before = memory.resident()
            for _ in range(count):
                _run(container)
            increases.append(memory.resident() - before)
    return increases


def _run(container: ContainerExecutor) -> None:
    assert container.run("echo output").stdout == "output"
