"""Runners that tests kill, and checks of what they leave behind."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from lisa_container.platforms.sandbox import SandboxNode
from tests.support.leftovers import ask_engine
from tests.support.nodes import DOCKER_USER
from tests.support.programs import Program

SCRIPT = Path(__file__).parents[1] / "lease" / "runner_script.py"

# Seconds to wait for something on a node: ten times what a loaded machine takes.
DEADLINE = 90.0


class Runner:
    """Process that works on a node.

    Attributes:
        name: its run id, which is part of the names of all that it makes.
        pid: its process id.
    """

    def __init__(self, name: str, program: Program, output: Path) -> None:
        """Read the runner's output from the file `output`."""
        self.name = name
        self.pid = program.pid
        self._program = program
        self._output = output

    @property
    def lines(self) -> list[str]:
        """Lines that the runner has printed."""
        return self._output.read_text(encoding="utf-8").splitlines()

    @property
    def is_alive(self) -> bool:
        """Whether the process exists."""
        return self._program.poll() is None

    def wait_for(self, word: str = "ready") -> None:
        """Wait until the runner has printed this line; fail if it ends before."""
        wait_until(lambda: word in self.lines or not self.is_alive, f"{self.name}: {word}")
        assert word in self.lines, "\n".join(self.lines)

    def wait(self) -> None:
        """Wait for the end of the process."""
        wait_until(lambda: not self.is_alive, f"end of {self.name}")

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        self._program.send_signal(number)

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self.signal(signal.SIGKILL)

    def stop(self) -> None:
        """Let the process end normally, and wait for its end."""
        self.signal(signal.SIGTERM)
        self.wait()


class Runners:
    """Starter of runners, which live for the time of a `with` block."""

    def __init__(self, folder: Path) -> None:
        """Keep the runners' output in `folder`."""
        self._folder = folder
        self._count = itertools.count()
        self._started: list[Runner] = []

    def __enter__(self) -> Runners:
        """Return this object."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Kill the runners."""
        self.kill_all()

    def kill_all(self) -> None:
        """Kill all runners."""
        while self._started:
            self._started.pop().kill()

    def start(
        self,
        machine: SandboxNode,
        what: str,
        user: str = "sudo",
        ttl: int = 8,
        image: str = "",
        run: str = "",
    ) -> Runner:
        """Start a runner.

        Args:
            machine: the node to work on.
            what: a kind of work of `runner_script.py`.
            user: `root`, `sudo`, `password` or, if that user was added, `docker`.
            ttl: seconds that its lease lasts without renewal.
            image: image of a registry, for the work `pull`.
            run: its run id; a new one by default.
        """
        name = run or f"run_{os.getpid()}_{next(self._count)}"
        output = self._folder / name
        output.touch()
        usernames = {
            "root": "root",
            "sudo": machine.username,
            "password": machine.password_username,
            "docker": DOCKER_USER,
        }
        order = {
            "address": machine.address,
            "port": machine.port,
            "username": usernames[user],
            "password": machine.password if user == "password" else "",
            "key": "" if user == "password" else str(machine.private_key_file),
            "what": what,
            "name": name,
            "ttl": ttl,
            "image": image,
            "output": str(output),
        }
        runner = Runner(name, Program(SCRIPT, json.dumps(order)), output)
        self._started.append(runner)
        return runner


@pytest.fixture(scope="module")
def runners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runners]:
    """Return a starter of runners, which end with the tests of a file."""
    with Runners(tmp_path_factory.mktemp("runners")) as started:
        yield started


def wait_until(condition: Callable[[], object], what: str, seconds: float = DEADLINE) -> None:
    """Wait until `condition` is true; fail after a time limit with `what` in the message."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds:g} seconds: {what}"
        time.sleep(0.1)


_RUN, _LEASE = "lisa_container.run", "lisa_container.lease"
# Places of leases, and the beginning of the hidden names there.
_PLACES = {"run": ".lisa_container", "tmp": ".lisa_cont"}
_VARIABLE = re.compile(rb"LISA_CONTAINER_[A-Z]*=(.*)")


def left(machine: SandboxNode, *but: str) -> list[str]:
    """List all that runs have left on a node, as lines of kind, run or lease, and name.

    Args:
        machine: The node.
        but: Leave out lines that contain one of these texts.
    """
    lines = {*_left_in_engine(machine), *_left_files(machine), *_left_processes(machine)}
    return sorted(line for line in lines if not any(word in line for word in but))


def _left_in_engine(machine: SandboxNode) -> Iterator[str]:
    def of(path: str, **filters: str) -> str:
        values = json.dumps({name: [value] for name, value in filters.items()})
        return f"{path}?{urllib.parse.urlencode({'filters': values, 'all': 0})}"

    paths = [
        "containers/json?all=1",
        *(of("networks", label=_RUN), of("volumes", label=_RUN)),
        *(of("images/json", label=_LEASE), of("images/json", dangling="true")),
    ]
    try:
        containers, networks, volumes, images, nameless = ask_engine(machine, paths)
    except OSError:
        return  # it does not run, which the test knows
    for each in containers:
        names = ",".join(name[1:] for name in each["Names"])
        yield f"container {each['Labels'].get(_RUN, '')} {names}"
    for kind, found in (("network", networks), ("volume", volumes["Volumes"] or [])):
        for each in found:
            yield f"{kind} {each['Labels'].get(_RUN, '')} {each['Name']}"
    # An image that was made to stay has the label, but no lease.
    unfinished = [each for each in images if each["Labels"][_LEASE]]
    for each in (*unfinished, *nameless):
        yield f"image - {each['Id']}"


def _left_files(machine: SandboxNode) -> Iterator[str]:
    root = Path(f"/proc/{machine.pid}/root")
    for place, hidden in _PLACES.items():
        for path in (root / place).iterdir():
            is_hidden = path.name.startswith(".")
            if path.name.startswith(hidden) if is_hidden else "lisa_container" in path.name:
                first = "-"
                with contextlib.suppress(OSError):
                    first = (path / "state").read_text(encoding="utf-8").partition("\n")[0]
                yield f"file {first} /{place}/{path.name}"
    for path in (root / "var/tmp").glob("lisa_container*"):
        yield f"mark - /var/tmp/{path.name}"


def _left_processes(machine: SandboxNode) -> Iterator[str]:
    for folder in Path(f"/proc/{machine.pid}/root/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            variables = (folder / "environ").read_bytes().split(b"\0")
            leases = [found[1] for each in variables if (found := _VARIABLE.match(each))]
            if leases:
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                yield f"process {os.fsdecode(leases[0])} {os.fsdecode(words)}"


def wait_until_clean(machine: SandboxNode, *but: str) -> None:
    """Wait until `left` finds nothing on a node."""
    seen: list[str] = []

    def is_clean() -> bool:
        seen[:] = left(machine, *but)
        return not seen

    try:
        wait_until(is_clean, "a clean node")
    except AssertionError:
        raise AssertionError("left on the node:\n" + "\n".join(seen)) from None
