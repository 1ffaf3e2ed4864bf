"""The runner's memory.

The resident memory (VmRSS, after a collection of garbage) of a process that does only this, as a
user with sudo:

- per container: what 50 further running containers add, each of which has run a command and is
  ready for the next one, divided by 50;
- per 1,000 commands: what the first 1,000 commands in one container add after 100 to warm up, and
  then what 9,000 further ones add, divided by 9.
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
    """MiB that so many containers take."""
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
    """MiB that so many commands add, and then so many more."""
    found = []
    with login.node() as node, ContainerExecutor(node, CONFIG) as container:
        for _ in range(_WARM_UP):
            _run(container)
        for count in counts:
            before = memory.resident()
            for _ in range(count):
                _run(container)
            found.append(memory.resident() - before)
    return found


def _run(container: ContainerExecutor) -> None:
    assert container.run("echo output").stdout == "output"
