"""Lists of everything on a shared node, to check that each test leaves it unchanged.

All of it is read from this machine, through the node's file system and its engine's socket. This
takes a few milliseconds, so it can be done around each test.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from lisa_container.platforms.sandbox import SandboxNode

# LISA's connections, idle relays, and the commands of these checks.
_COMING_AND_GOING = re.compile(
    r"^(sshd|sudo|su|ps|/bin/sh /run/sandbox/init|sleep 0\.|containerd-shim|runc|docker-proxy"
    r"|/usr/bin/(docker-proxy|containerd-shim)|(/usr/bin/)?(python3|perl) .*(docker|podman)\.sock [0-9]"
    r"|\S*docker (-H \S+ )?(system dial-stdio|ps|info|version)"
    r"|/usr/lib/openssh/sftp-server|dockerd|/usr/(s)?bin/dockerd|containerd|ssh-agent)"
)
# A container's first process, or a command's, that has not yet become its program.
_STARTING = re.compile(r"^(runc|/proc/self/exe|/dev/fd/\d+) init")
_OF_LEASES = re.compile(r"node\.sh watch|lisa_container[._]")
_PLACES = ("tmp", "var/tmp", "run", "root", "etc", "etc/docker", "etc/ssh", "srv", "usr/local/bin")
# Files that programs of the node change at any time.
_RESTLESS = re.compile(
    r"^(run/(sshd\.pid|docker.*|containerd.*|utmp|sudo|user|lock|motd.*)"
    r"|etc/(passwd|group|shadow|gshadow|sub[ug]id).*|etc/\.pwd\.lock|etc/ld\.so\.cache"
    r"|root/\.(bash_history|docker|cache|python_history|lesshst))$"
)
# Networks that each engine has.
_NETWORKS = {"bridge", "host", "none"}


class _Connection(http.client.HTTPConnection):
    """HTTP connection over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("engine", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(self._path))


def leftovers(machine: SandboxNode, leases: bool) -> Counter[str]:
    """Return lines for all that a test could leave on a node.

    Args:
        machine: the node.
        leases: include leases and relays, which last as long as a file's connection.
    """
    lines = Counter([*_of_engine(machine), *_files(machine), *_processes(machine)])
    if not leases:
        lines = Counter({line: n for line, n in lines.items() if not _OF_LEASES.search(line)})
    return lines


def wait_until_as_before(
    machine: SandboxNode, before: Counter[str], leases: bool, seconds: float = 15
) -> list[str]:
    """Wait until a node has no more than before; return what it has in addition."""
    deadline = time.monotonic() + seconds
    while True:
        more = sorted((leftovers(machine, leases) - before).elements())
        if not more or time.monotonic() > deadline:
            return more
        time.sleep(0.1)


def ask_engine(machine: SandboxNode, paths: Iterable[str]) -> list[Any]:
    """Return the answers of a node's engine to GET requests, past SSH and without a client program.

    Raises:
        OSError: The engine does not answer.
    """
    connection = _Connection(Path(f"/proc/{machine.pid}/root/run/docker.sock"))
    try:
        answers = []
        for path in paths:
            connection.request("GET", f"/v1.41/{path}")
            answers.append(json.loads(connection.getresponse().read()))
        return answers
    finally:
        connection.close()


def _of_engine(machine: SandboxNode) -> Iterator[str]:
    paths = ("containers/json?all=1", "volumes", "networks", "images/json")
    try:
        containers, volumes, networks, images = ask_engine(machine, paths)
    except OSError as error:
        yield f"engine does not answer: {error}"
        return
    for container in containers:
        yield f"container {' '.join(container['Names'])} {container['Image']}"
    for volume in volumes["Volumes"] or []:
        yield f"volume {volume['Name']}"
    for image in images:
        # Others are a cache.
        if image["RepoTags"] in (None, [], ["<none>:<none>"]):
            yield f"image without a name {image['Id']} {image['Labels']}"
    for network in networks:
        if network["Name"] not in _NETWORKS:
            yield f"network {network['Name']}"


def _files(machine: SandboxNode) -> Iterator[str]:
    root = Path(f"/proc/{machine.pid}/root")
    for place in _PLACES:
        with suppress(FileNotFoundError):
            for file in (root / place).iterdir():
                name = f"{place}/{file.name}"
                if not _RESTLESS.match(name):
                    yield f"file /{name}"
    mounts = Path(f"/proc/{machine.pid}/mounts").read_text(encoding="utf-8")
    for line in mounts.splitlines():
        place = line.split()[1]
        if not place.startswith(("/var/lib/docker/", "/run/docker/", "/var/run/docker/")):
            yield f"mount {place}"


def _processes(machine: SandboxNode) -> Iterator[str]:
    deadline = time.monotonic() + 5
    while True:
        lines = list(_command_lines(machine))
        if not any(map(_STARTING.match, lines)) or time.monotonic() > deadline:
            yield from (line for line in lines if not _STARTING.match(line))
            return
        time.sleep(0.02)


def _command_lines(machine: SandboxNode) -> Iterator[str]:
    for folder in Path(f"/proc/{machine.pid}/root/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if _STARTING.match(line):
                yield line
            if not line or _COMING_AND_GOING.match(line):
                continue
            # A lease's watcher and its children.
            is_ours = b"LISA_CONTAINER_" in (folder / "environ").read_bytes()
            yield f"process {'of lisa_container.: ' if is_ours else ''}{line.strip()}"


def stored_faults(machine: SandboxNode) -> str:
    """Return the files of faults in all leases, and the processes of faults."""
    return machine.run(
        "ls /run/lisa_container.*/fault.* 2>/dev/null; "
        "grep -l LISA_CONTAINER_FAULT= /proc/[0-9]*/environ 2>/dev/null || :"
    ).stdout
