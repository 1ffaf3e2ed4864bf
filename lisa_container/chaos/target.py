"""Targets of faults: containers, by object, name, regular expression, label or at random."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Union

from lisa_container.config.checks import illegal
from lisa_container.container.container import Container
from lisa_container.container.state import find_address
from lisa_container.engine.client import Engine
from lisa_container.engine.lease.shell import shell_of
from lisa_container.errors import FaultError, NoTargetError

# Last line of a script's output: this word and the exit code.
_END = "lisa_container_end"
_LONGEST = 500


@dataclass(frozen=True)
class Target:
    """Container that a fault hits, as it is now.

    Attributes:
        engine: Engine of its node.
        id: Id of the container.
        name: Its name.
        pid: First process on the node; 0 if it does not run.
        started: Time of its last start, as the engine tells it.
        address: IP address at which the node reaches it; empty if it has none of its own.
    """

    engine: Engine
    id: str
    name: str
    pid: int
    started: str
    address: str

    @classmethod
    def of(cls, engine: Engine, container: str) -> Target:
        """Return a container as a target.

        Args:
            engine: Engine of its node.
            container: Name or id.

        Raises:
            EngineError: There is no such container, or the engine does not answer.
        """
        with engine.errors(container):
            found = engine.api.inspect_container(container)
        return cls(
            engine,
            str(found["Id"]),
            str(found["Name"]).lstrip("/"),
            int(found["State"].get("Pid") or 0),
            str(found["State"].get("StartedAt")),
            find_address(found),
        )

    def __str__(self) -> str:
        """Return the container and its node, for messages."""
        return f"container '{self.name}' on node '{self.engine.name}'"

    def look(self) -> Target | None:
        """Return the container as it is now; None if it was removed."""
        with self.engine.errors(self.name):
            found = self.engine.api.containers(all=True, filters={"id": self.id})
        return Target.of(self.engine, self.id) if found else None

    def require_running(self) -> None:
        """Refuse a container that does not run.

        Raises:
            FaultError: It does not run.
        """
        if not self.pid:
            raise FaultError(f"{self} does not run, so the fault cannot hit it")

    def run(self, script: str) -> str:
        """Run a script on the node as root; return its output.

        Args:
            script: Script of the node's sh.

        Raises:
            FaultError: The script failed; the message has its output.
            SshLostError, SudoError, EngineError: The node does not run it.
        """
        shell = shell_of(self.engine, as_root=True)
        output = shell.run(f"{{ {script}\n}} 2>&1; code=$?; echo; echo {_END} $code")
        text, found, code = output.rpartition(f"\n{_END} ")
        if not found or code.strip() != "0":
            said = " ".join(text.split())[-_LONGEST:]
            raise FaultError(f"{self}: a command on the node failed: {said or 'without a word'}")
        return text.strip()

    def in_network(self, words: str) -> str:
        """Return a command line that runs a program of the node in the container's network.

        Args:
            words: Program and arguments, for the node's sh.
        """
        return f"nsenter -t {self.pid} -n {words}"

    def for_network(self, script: str) -> str:
        """Return a script in which `inside` runs a program of the node in the present network.

        The network may outlive the container's first process. If it is gone, the script ends with
        success, since its rules are gone with it.

        Args:
            script: Script of the node's sh.

        Raises:
            FaultError: The container's network cannot be found.
        """
        network = self.run(f"readlink /proc/{self.pid}/ns/net")
        return f"""\
process=
for each in {self.pid} $(ls /proc | grep '^[0-9]*$'); do
    [ "$(readlink "/proc/$each/ns/net" 2>/dev/null)" = '{network}' ] && process=$each && break
done
[ "$process" ] || exit 0
inside() {{ nsenter -t "$process" -n "$@"; }}
{script}"""


@dataclass(frozen=True)
class Select:
    """Choice of containers on the nodes of an injector.

    Attributes:
        names: Names.
        pattern: Regular expression for the whole name.
        label: `name` or `name=value` of a label.
        pick: Number of containers, drawn at random from those; 0 means all.
    """

    names: tuple[str, ...] = ()
    pattern: str = ""
    label: str = ""
    pick: int = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: A value is wrong, or nothing is given.
        """
        if not (self.names or self.pattern or self.label):
            raise illegal("select", self, "names, a pattern, a label, or several of them")
        try:
            re.compile(self.pattern)
        except re.error as error:
            legal = "a regular expression"
            raise illegal("select, pattern", self.pattern, legal, str(error)) from error
        if self.pick < 0:
            raise illegal("select, pick", self.pick, "a number of containers, or 0 for all")

    def find(self, engines: Iterable[Engine], dice: random.Random) -> list[Target]:
        """Return the running containers that fit, in the order of their names.

        Args:
            engines: Engines to search.
            dice: Source of the random choice.

        Raises:
            NoTargetError: None fits.
        """
        found = []
        for engine in engines:
            filters = {"label": [self.label]} if self.label else {}
            with engine.errors():
                listed = engine.api.containers(filters=filters)
            for each in listed:
                name = str(each["Names"][0]).lstrip("/")
                if self._fits(name):
                    found.append(Target.of(engine, str(each["Id"])))
        if not found:
            raise NoTargetError(f"no running container fits {self}")
        found.sort(key=lambda target: target.name)
        if self.pick:
            found = sorted(dice.sample(found, min(self.pick, len(found))), key=lambda x: x.name)
        return found

    def _fits(self, name: str) -> bool:
        if self.names and name not in self.names:
            return False
        return not self.pattern or re.fullmatch(self.pattern, name) is not None


Targets = Union[Container, str, Select]
"""Target of a fault: a container, the name of one, or a choice."""
