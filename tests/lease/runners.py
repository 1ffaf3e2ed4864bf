"""Runners to be killed, and looking at what they leave.

Each is a process of its own that LISA was imported in before it was forked: that takes the 2 seconds
only once.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

from lisa_container.platforms.sandbox import SandboxNode

SCRIPT = Path(__file__).with_name("runner_script.py")

# What waiting for something on a node may take: ten times what it takes on a loaded machine.
DEADLINE = 90.0


class Runner:
    """One runner.

    Attributes:
        name: in all that it makes; its run id.
        pid: of its process.
    """

    def __init__(self, name: str, pid: int, output: Path) -> None:
        self.name = name
        self.pid = pid
        self._output = output

    @property
    def said(self) -> list[str]:
        """The lines that it printed."""
        return self._output.read_text(encoding="utf-8").splitlines()

    @property
    def is_alive(self) -> bool:
        return Path(f"/proc/{self.pid}").exists()

    def wait_for(self, word: str = "ready") -> None:
        """Wait until it has printed a line, which may be an error's."""
        wait_until(lambda: word in self.said or not self.is_alive, f"{self.name}: {word}")
        assert word in self.said, "\n".join(self.said)

    def wait(self) -> None:
        """Wait for its end."""
        wait_until(lambda: not self.is_alive, f"end of {self.name}")

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it outright."""
        self.signal(signal.SIGKILL)

    def stop(self) -> None:
        """Have it end as a process does by itself, and wait for that."""
        self.signal(signal.SIGTERM)
        self.wait()


class Runners:
    """The process that runners are forked from; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = itertools.count()
        self._started: list[Runner] = []
        self._log = folder / "log"

    def __enter__(self) -> Runners:
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
        self.kill_all()
        self._process.kill()
        self._process.communicate()

    def kill_all(self) -> None:
        """Kill all that are still there."""
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
            machine: where it makes things.
            what: a kind of work of `runner_script.py`.
            user: `root`, `sudo` or `password`.
            ttl: of its lease, seconds.
            image: of a registry, for the work `pull`.
            run: its name; one is made up by default.
        """
        name = run or f"run_{os.getpid()}_{next(self._count)}"
        output = self._folder / name
        output.touch()
        usernames = {
            "root": "root",
            "sudo": machine.username,
            "password": machine.password_username,
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


def wait_until(condition: Callable[[], object], what: str, seconds: float = DEADLINE) -> None:
    """Wait until something is so."""
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
docker images --filter label=lisa_container.lease --format 'image - {{.ID}}'
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
    """All on a node that has to do with any run: a line each, of what, run or lease, name.

    Args:
        machine: the node.
        but: lines with one of these in them do not count.
    """
    lines = machine.run(_LOOK).stdout.splitlines()
    return sorted({line for line in lines if not any(word in line for word in but)})


def wait_until_clean(machine: SandboxNode, *but: str) -> None:
    """Wait until nothing of any run is left on a node; see `left`."""
    seen: list[str] = []

    def is_clean() -> bool:
        seen[:] = left(machine, *but)
        return not seen

    try:
        wait_until(is_clean, "a clean node")
    except AssertionError:
        raise AssertionError("left on the node:\n" + "\n".join(seen)) from None
