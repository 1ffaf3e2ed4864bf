"""`Fleet`: many containers of one config, spread over nodes."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from lisa.node import Node

from lisa_container.config import ContainerTestConfig
from lisa_container.config.checks import check_names, illegal
from lisa_container.config.identity import hostname
from lisa_container.config.model import require_config
from lisa_container.container.parallel import for_each, start_all
from lisa_container.container.request import Command
from lisa_container.container.result import CommandResult
from lisa_container.engine.installation import ensure_engine
from lisa_container.engine.workers import Workers
from lisa_container.executor import ContainerExecutor
from lisa_container.fleet.healing import Healer
from lisa_container.fleet.network import FleetNetwork
from lisa_container.fleet.placement import NodeState, Placement, round_robin
from lisa_container.fleet.results import Results
from lisa_container.fleet.spread import Answer, Choice, least_busy, spread_commands
from lisa_container.naming import node_name

_LABEL = "lisa_container.fleet"
# Commands of `map` that run at the same time. Each is a thread, and more are not faster.
_MOST_PARALLEL = 64


class Fleet:
    """Many containers of one config on one or on many nodes; a context manager.

        with Fleet(nodes, ContainerTestConfig(image="debian:12"), count=6, name="web") as fleet:
            fleet.map("nproc").raise_failures()

    The members are `web-1`, `web-2` and so on: these are their host names, and the names by which
    the members of one node find each other. The name of the fleet finds all of them. A config with
    a `network_mode` keeps that, and its members find each other as that network provides.

    Args:
        nodes: A LISA node, or several.
        config: Image and settings of each member. Its `ready` says when a member has started.
        count: Number of members.
        name: Name of the fleet, legal as a host name; `fleet-<4 hex digits>` by default.
        placement: Choice of the node of each member, such as `round_robin`, `least_loaded` or
            `by_label("disk=ssd")`.
        heals: Whether members that have died are replaced as long as the fleet runs.
    """

    def __init__(
        self,
        nodes: Node | Sequence[Node],
        config: ContainerTestConfig,
        count: int = 2,
        name: str = "",
        *,
        placement: Placement = round_robin,
        heals: bool = False,
    ) -> None:
        """Check the arguments; nothing is created before `start`.

        Raises:
            ConfigError: An argument is wrong.
        """
        self.nodes = [nodes] if isinstance(nodes, Node) else list(nodes)
        if not self.nodes:
            raise illegal("nodes", [], "a LISA node, or a list with at least one")
        self.config = require_config(config, "config").require_image()
        self.name = hostname("name", name) or f"fleet-{secrets.token_hex(2)}"
        self._count = _count("count", count, least=1)
        self._placement = placement
        self._heals = heals
        self._lock = threading.RLock()
        self._members: dict[int, ContainerExecutor] = {}
        self._token = secrets.token_hex(8)
        self._network = FleetNetwork(self.name)
        self._healer: Healer | None = None

    def __enter__(self) -> Fleet:
        """Start the fleet."""
        return self.start()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Remove the fleet, except members to be kept."""
        self._end(error)

    def __repr__(self) -> str:
        """Return the fleet's name, size and image, for messages."""
        return f"fleet '{self.name}' of {len(self)} ({self.config.image or 'built'})"

    def __len__(self) -> int:
        """Return the number of members."""
        return len(self._members)

    def __iter__(self) -> Iterator[ContainerExecutor]:
        """Iterate over the containers of the members."""
        return iter(self.members.values())

    def __getitem__(self, name: str) -> ContainerExecutor:
        """Return the container of a member.

        Args:
            name: Name of the member, such as `web-1`.

        Raises:
            ConfigError: The fleet has no such member.
        """
        members = self.members
        check_names([name], members, f"{self!r}, member")
        return members[name]

    @property
    def members(self) -> dict[str, ContainerExecutor]:
        """Containers by the names of the members."""
        with self._lock:
            return {self._name(number): self._members[number] for number in sorted(self._members)}

    def start(self) -> Fleet:
        """Start all members, several at a time, and wait until they are ready.

        If one fails, nothing of the fleet stays. A fleet that runs is left alone.

        Raises:
            ContainerError: The first error of a start; its message lists the errors of others.
        """
        with self._lock:
            if self._members:
                return self
            try:
                self._add(range(1, self._count + 1), self.config)
                if self._heals:
                    self._healer = Healer(self)
            except BaseException as error:
                self._end(error)
                raise
            return self

    def stop(self) -> None:
        """Remove all members and their network. Calling it again does nothing."""
        self._end(None)

    def map(self, command: Command, timeout: float | None = 600, **options: Any) -> Results:
        """Run a command in all members at the same time.

        Args:
            command: Command for `ContainerExecutor.run`.
            timeout: Seconds until the command is killed; None means no limit.
            options: Further arguments of `ContainerExecutor.run`.

        Returns:
            The results; a failure in one member hides no result of another one.
        """
        return self._run(self.members, command, timeout, options)

    def run_on(
        self, names: Iterable[str], command: Command, timeout: float | None = 600, **options: Any
    ) -> Results:
        """Run a command in some members at the same time, as `map` does in all.

        Args:
            names: Names of the members.
            command: See `map`.
            timeout: See `map`.
            options: See `map`.

        Raises:
            ConfigError: The fleet has no member of a name.
        """
        chosen = {name: self[name] for name in ([names] if isinstance(names, str) else names)}
        return self._run(chosen, command, timeout, options)

    def spread(
        self,
        commands: Iterable[Command],
        choose: Choice | None = None,
        parallel: int = 0,
        timeout: float | None = 600,
    ) -> list[Answer]:
        """Run each of many commands in one member.

        Args:
            commands: Commands for `ContainerExecutor.run`.
            choose: Choice of the member for each command: `in_turn()`, `least_busy()` (the
                default), or a function of yours.
            parallel: Largest number of commands at the same time; as many as members by default.
            timeout: Seconds until a command is killed; None means no limit.

        Returns:
            The end of each command, in the order of the commands.
        """
        parallel = min(parallel or len(self), _MOST_PARALLEL)
        choose = choose or least_busy()
        return spread_commands(lambda: self.members, commands, choose, parallel, timeout)

    def scale(self, count: int) -> None:
        """Start more members, or remove the last ones; the others go on.

        Args:
            count: Number of members to have.

        Raises:
            ConfigError: The number is less than 1, or the fleet does not run.
            ContainerError: See `start`; the fleet then has its members of before.
        """
        _count("count", count, least=1)
        with self._lock:
            self._require_running()
            numbers = sorted(self._members)
            surplus = numbers[count:]
            if surplus:
                leaving = [self._members.pop(number) for number in surplus]
                for_each(leaving, lambda each: each.stop())
            elif count > len(numbers):
                first = numbers[-1] + 1
                self._add(range(first, first + count - len(numbers)), self.config)
            self._count = count

    def roll(self, config: ContainerTestConfig | None = None, batch: int = 1) -> None:
        """Replace all members, some at a time: a new one is ready before the old one goes.

        Args:
            config: Config of the new members, and of later ones; the present one by default.
            batch: Number of members that are replaced at the same time.

        Raises:
            ConfigError: An argument is wrong, or the fleet does not run.
            ContainerError: See `start`. Members that were not replaced yet go on.
        """
        config = require_config(config or self.config, "config").require_image()
        _count("batch", batch, least=1)
        with self._lock:
            self._require_running()
            numbers = sorted(self._members)
            for start in range(0, len(numbers), batch):
                chosen = numbers[start : start + batch]
                old = [self._members[number] for number in chosen]
                self._add(chosen, config, {n: x.host for n, x in zip(chosen, old)})
                for_each(old, lambda each: each.stop())
            self.config = config

    def dead(self) -> list[str]:
        """Return the names of the members that do not run: ended, killed, or removed by others.

        Raises:
            EngineError: An engine does not answer.
        """
        running: set[str] = set()
        for node in {each.host for each in self}:
            engine = ensure_engine(node)
            with engine.errors():
                found = engine.api.containers(filters={"label": f"{_LABEL}={self._token}"})
            running.update(str(each["Id"]) for each in found)
        return [
            name
            for name, each in self.members.items()
            if not each.is_started or each.id not in running
        ]

    def replace_dead(self) -> list[str]:
        """Replace the members that have died by new ones, each on its node.

        Returns:
            Names of the members that were replaced.

        Raises:
            ContainerError: See `start`.
        """
        with self._lock:
            dead = self.dead() if self._members else []
            numbers = [number for number in self._members if self._name(number) in dead]
            old = [self._members[number] for number in numbers]
            self._add(numbers, self.config, {n: x.host for n, x in zip(numbers, old)})
            for_each(old, lambda each: each.stop())
            return dead

    def _add(
        self,
        numbers: Iterable[int],
        config: ContainerTestConfig,
        nodes: dict[int, Node] | None = None,
    ) -> None:
        """Start members; all or none.

        Args:
            numbers: Numbers of the members. One that is present is replaced, but not stopped.
            config: Config of the members.
            nodes: Node of each; the placement decides where none is given.
        """
        if nodes is None:
            states = [NodeState(node, self._on(node)) for node in self.nodes]
            nodes = {}
            for number in numbers:
                chosen = nodes[number] = self._placement(states)
                for state in states:
                    state.members += state.node is chosen
        if not config.network_mode:
            for node in dict.fromkeys(nodes.values()):
                self._network.create(node)
        new = {number: self._member(number, node, config) for number, node in nodes.items()}
        start_all(new.values())
        self._members.update(new)

    def _member(self, number: int, node: Node, config: ContainerTestConfig) -> ContainerExecutor:
        labelled = config.merged(labels={_LABEL: self._token})
        config, name = self._network.member(labelled, number, node)
        return ContainerExecutor(node, config, name)

    def _run(
        self,
        members: dict[str, ContainerExecutor],
        command: Command,
        timeout: float | None,
        options: dict[str, Any],
    ) -> Results:
        names = list(members)

        def job(name: str) -> CommandResult:
            return members[name].run(command, timeout=timeout, **options)

        workers = Workers(job, "fleet")
        workers.add(names, _MOST_PARALLEL)
        workers.run()
        return Results(
            {names[number]: workers.results[number] for number in sorted(workers.results)},
            {names[number]: workers.failures[number] for number in sorted(workers.failures)},
        )

    def _end(self, error: BaseException | None) -> None:
        healer, self._healer = self._healer, None
        if healer is not None:
            healer.stop()
        with self._lock:
            members, self._members = list(self._members.values()), {}
            try:
                for_each(members, lambda each: each.__exit__(type(error), error, None))
            finally:
                self._network.remove()

    def _name(self, number: int) -> str:
        return f"{self.name}-{number}"

    def _on(self, node: Node) -> int:
        return sum(each.host is node for each in self._members.values())

    def _require_running(self) -> None:
        if not self._members:
            names = ", ".join(f"'{node_name(node)}'" for node in self.nodes)
            raise illegal(
                "fleet", self.name, f"one that runs on {names}: use 'with', or call start()"
            )


def _count(field: str, value: int, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise illegal(field, value, f"a whole number of at least {least}")
    return value
