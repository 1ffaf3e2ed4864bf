"""Runners that tests kill, and checks of what they leave behind.

Each runner is a forked process. LISA, which takes 2 seconds to import, is imported once before.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import DOCKER_USER

SCRIPT = Path(__file__).parents[1] / "lease" / "runner_script.py"

# Seconds to wait for something on a node: ten times what a loaded machine takes.
DEADLINE = 90.0


class Runner:
    """Process that works on a node.

    Attributes:
        name: its run id, which is part of the names of all that it makes.
        pid: its process id.
    """

    def __init__(self, name: str, pid: int, output: Path) -> None:
        """Read the runner's output from the file `output`."""
        self.name = name
        self.pid = pid
        self._output = output
        # Another process soon gets the pid of a runner that has ended, and must not be killed.
        self._process: int | None = None
        with contextlib.suppress(ProcessLookupError):
            self._process = os.pidfd_open(pid)
            weakref.finalize(self, os.close, self._process)

    @property
    def lines(self) -> list[str]:
        """Lines that the runner has printed."""
        return self._output.read_text(encoding="utf-8").splitlines()

    @property
    def is_alive(self) -> bool:
        """Whether the process exists."""
        if self._process is None:
            return False
        end = select.poll()
        end.register(self._process)
        return not end.poll(0)

    def wait_for(self, word: str = "ready") -> None:
        """Wait until the runner has printed this line; fail if it ends before."""
        wait_until(lambda: word in self.lines or not self.is_alive, f"{self.name}: {word}")
        assert word in self.lines, "\n".join(self.lines)

    def wait(self) -> None:
        """Wait for the end of the process."""
        wait_until(lambda: not self.is_alive, f"end of {self.name}")

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, number)

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self.signal(signal.SIGKILL)

    def stop(self) -> None:
        """Let the process end normally, and wait for its end."""
        self.signal(signal.SIGTERM)
        self.wait()


class Runners:
    """Process that runners are forked from; it and they live for the time of a `with` block."""

    def __init__(self, folder: Path) -> None:
        """Keep the runners' output in `folder`."""
        self._folder = folder
        self._count = itertools.count()
        self._started: list[Runner] = []
        self._log = folder / "log"

    def __enter__(self) -> Runners:
        """Start the process."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(SCRIPT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Kill the process and its runners."""
        self.kill_all()
        self._process.kill()
        self._process.communicate()

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
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, self._log.read_text(encoding="utf-8", errors="replace")[-2000:]
        runner = Runner(name, int(answer), output)
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


_LOOK = """
docker ps -a --format \
    'container {{.Label "lisa_container.run"}} {{.Names}}'
docker network ls --filter label=lisa_container.run --format \
    'network {{.Label "lisa_container.run"}} {{.Name}}'
docker volume ls --filter label=lisa_container.run --format \
    'volume {{.Label "lisa_container.run"}} {{.Name}}'
docker inspect -f '{{with index .Config.Labels "lisa_container.lease"}}image - {{$.Id}}{{end}}' \
    $(docker images -q --filter label=lisa_container.lease) 2>/dev/null | grep .
docker images --filter dangling=true --format 'image - {{.ID}}'
for folder in /run/*lisa_container* /run/.lisa_container* /tmp/*lisa_container* /tmp/.lisa_cont*; do
    [ -e "$folder" ] && echo "file $(sed -n 1p "$folder/state" 2>/dev/null || echo -) $folder"
done
for mark in /var/tmp/lisa_container*; do [ -e "$mark" ] && echo "mark - $mark"; done
for file in /proc/[0-9]*/environ; do
    lease=$(tr '\\0' '\\n' <"$file" 2>/dev/null | sed -n 's/^LISA_CONTAINER_[A-Z]*=//p')
    process=${file%/environ}
    [ -n "$lease" ] && echo "process $lease $(tr '\\0' ' ' <"$process/cmdline")"
done
true
"""


def left(machine: SandboxNode, *but: str) -> list[str]:
    """List all that runs have left on a node, as lines of kind, run or lease, and name.

    Args:
        machine: the node.
        but: leave out lines that contain one of these texts.
    """
    lines = machine.run(_LOOK).stdout.splitlines()
    return sorted({line for line in lines if not any(word in line for word in but)})


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
