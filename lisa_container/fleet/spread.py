"""Commands spread over the members of a fleet, each to one of them."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Callable

from lisa_container.container.request import Command
from lisa_container.container.result import CommandResult
from lisa_container.engine.workers import Workers
from lisa_container.executor import ContainerExecutor

Choice = Callable[[Sequence[str], Mapping[str, int]], str]
"""Function that chooses the member for the next command, of the members' names and the number of
commands that run in each of them now."""


def in_turn() -> Choice:
    """Return a choice that takes one member after the other, busy or not."""
    counter = itertools.count()
    return lambda names, busy: names[next(counter) % len(names)]


def least_busy() -> Choice:
    """Return a choice that takes the member with the fewest running commands."""
    return lambda names, busy: min(names, key=lambda name: busy.get(name, 0))


@dataclass(frozen=True)
class Answer:
    """End of one command.

    Attributes:
        command: The command.
        member: Name of the member that ran it.
        result: Its result; None if there is none.
        error: Exception instead of a result.
    """

    command: Command
    member: str
    result: CommandResult | None = None
    error: Exception | None = None


def spread_commands(
    members: Callable[[], Mapping[str, ContainerExecutor]],
    commands: Iterable[Command],
    choose: Choice,
    parallel: int,
    timeout: float | None,
) -> list[Answer]:
    """Run each command in one of the members; return the ends in the order of the commands.

    Args:
        members: Function that returns the members of this moment, by their names.
        commands: Commands for `ContainerExecutor.run`.
        choose: Choice of the member for each command.
        parallel: Largest number of commands that run at the same time.
        timeout: Seconds until a command is killed; None means no limit.
    """
    busy: Counter[str] = Counter()
    lock = threading.Lock()

    def work(command: Command) -> Answer:
        with lock:
            present = members()
            name = choose(list(present), busy)
            busy[name] += 1
        try:
            return Answer(command, name, present[name].run(command, timeout=timeout))
        except Exception as error:  # of this command alone
            return Answer(command, name, error=error)
        finally:
            with lock:
                busy[name] -= 1

    workers = Workers(work, "spread")
    wanted = list(commands)
    workers.add(wanted, parallel)
    workers.run()
    workers.raise_failure()
    return [workers.results[number] for number in range(len(wanted))]
