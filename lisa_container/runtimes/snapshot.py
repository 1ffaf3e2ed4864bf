"""Snapshot of what runs and exists on a machine, and the differences of two snapshots."""

from __future__ import annotations

import re
import secrets
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from lisa_container.errors import RuntimeMachineError
from lisa_container.runtimes.machine import Machine, run_checked
from lisa_container.runtimes.network import (
    parse_addresses,
    parse_links,
    parse_listeners,
    parse_routes,
)

_SCRIPT = Path(__file__).with_name("snapshot.sh")
# A name may hold anything, also a line feed or a parenthesis: see proc(5). The groups are pid,
# name, state, parent, flags, and start in ticks after the boot.
_PROCESS = re.compile(
    r"^(\d+) \((.{0,64}?)\) ([A-Za-z]) (\d+)(?: -?\d+){4} (\d+)(?: -?\d+){12} (\d+) \d+ [^\n]*$",
    re.MULTILINE | re.DOTALL,
)
_KERNEL_THREAD = 0x00200000  # PF_KTHREAD of the kernel's include/linux/sched.h
_ZOMBIE = "Z"
_OF_PROCESS = re.compile(r"^/proc/(\d+)/\w+:", re.MULTILINE)
_NAMESPACE_OWNER = re.compile(r"^/proc/(\d+)/ns:$")
_NAMESPACE = re.compile(r"-> (\w+:\[\d+\])$")
_ESCAPE = re.compile(r"\\([0-7]{3})")
# Fields of /proc/self/mountinfo: see proc(5).
_POINT, _TYPE, _SOURCE = 4, 0, 1
_MOST_TEXT = 120


class Kind(Enum):
    """Kind of a thing on a machine. Its value is the word in messages."""

    PROCESS = "process"
    NAMESPACE = "namespace"
    CGROUP = "cgroup"
    MOUNT = "mount"
    ADDRESS = "address"
    LINK = "interface"
    ROUTE = "route"
    LISTENER = "listening socket"
    FILE = "file"


# Their absence is a difference too. Processes end, with all that is theirs.
_LASTING = (Kind.MOUNT, Kind.ADDRESS, Kind.LINK, Kind.ROUTE, Kind.LISTENER, Kind.FILE)


@dataclass(frozen=True)
class Thing:
    """Thing on a machine.

    Attributes:
        kind: kind of the thing.
        key: what tells it apart from others of its kind.
        text: description for messages.
    """

    kind: Kind
    key: str
    text: str

    def __str__(self) -> str:
        """Return kind and description."""
        return f"{self.kind.value} {self.text}"


@dataclass(frozen=True)
class NodeSnapshot:
    """Processes, namespaces, cgroups, mounts, network and files of a machine at one time.

    Left out are kernel threads, and the login that took the snapshot.

    Attributes:
        things: all things, in the order of their kinds.
    """

    things: tuple[Thing, ...]

    def of(self, kind: Kind) -> list[Thing]:
        """Return the things of one kind."""
        return [thing for thing in self.things if thing.kind is kind]

    def leaks_since(self, before: NodeSnapshot) -> list[str]:
        """Return the differences from an earlier snapshot, a line for each.

        These are new things, and missing mounts, addresses, interfaces, routes, listening sockets
        and files. Processes that have ended are no difference.

        Args:
            before: The earlier snapshot.
        """
        then = Counter((x.kind, x.key) for x in before.things)
        now = Counter((x.kind, x.key) for x in self.things)
        more = _differing(self.things, now - then)
        less = [x for x in _differing(before.things, then - now) if x.kind in _LASTING]
        return [f"new {x}" for x in more] + [f"missing {x}" for x in less]


def take_snapshot(
    machine: Machine, folders: Sequence[str] = (), ignored: Sequence[str] = ()
) -> NodeSnapshot:
    """Return a snapshot of a machine.

    Args:
        machine: The machine.
        folders: Folders whose files belong to the snapshot, two levels deep.
        ignored: Regular expressions of descriptions of things to leave out.

    Raises:
        RuntimeMachineError: The machine cannot be examined.
    """
    mark = f"@{secrets.token_hex(8)}"
    command = shlex.join(["sh", "-s", mark, *folders])
    done = run_checked(machine, "take a snapshot", command, _SCRIPT.read_bytes())
    text = done.stdout_bytes.decode("utf-8", "replace")
    pieces = re.split(rf"^{mark} ([a-z ]+)\n", text, flags=re.MULTILINE)
    sections = dict(zip(pieces[1::2], pieces[2::2]))
    if "end" not in sections:
        raise RuntimeMachineError(
            f"'{machine.name}' cannot be examined: the end of the snapshot is missing. "
            f"{done.stderr[-500:]}"
        )
    patterns = [re.compile(pattern) for pattern in ignored]
    things = [*_processes(sections), *_kernel(sections), *_network(sections)]
    files = [Thing(Kind.FILE, path, path) for path in sections["files"].splitlines()]
    kept = [x for x in (*things, *files) if not any(p.search(str(x)) for p in patterns)]
    return NodeSnapshot(tuple(kept))


def _differing(things: Sequence[Thing], keys: Counter[tuple[Kind, str]]) -> list[Thing]:
    left = Counter(keys)
    found = []
    for thing in things:
        key = (thing.kind, thing.key)
        if left[key] > 0:
            left[key] -= 1
            found.append(thing)
    return found


def _processes(sections: dict[str, str]) -> list[Thing]:
    """Return the processes and their namespaces, without those of the login."""
    own = [int(pid) for pid in sections["self"].split()]
    script = own[0]
    commands = _by_process(sections["commands"])
    groups = _by_process(sections["control groups of processes"])
    names: dict[int, str] = {}
    found = []
    for match in _PROCESS.finditer(sections["processes"]):
        pid, flags = int(match[1]), int(match[5])
        # The login, and what the script itself has started.
        if pid in own or int(match[4]) == script or flags & _KERNEL_THREAD:
            continue
        state = " (zombie)" if match[3] == _ZOMBIE else ""
        command = (commands.get(pid, "").strip() or f"[{match[2]}]")[:_MOST_TEXT]
        group = groups.get(pid, "").strip().rpartition(":")[2]
        names[pid] = f"{pid}{state}: {command}"
        parent = commands.get(int(match[4]), "").strip()[:_MOST_TEXT]
        parent = f"{match[4]}: {parent}" if parent else match[4]
        text = f"{names[pid]} (parent {parent}, cgroup {group or 'unknown'})"
        found.append(Thing(Kind.PROCESS, f"{pid} {match[6]} {state}", text))
    return [*found, *_namespaces(sections["namespaces"], names)]


def _namespaces(text: str, names: dict[int, str]) -> list[Thing]:
    """Return each namespace of the processes, with one process that is in it."""
    found: dict[str, str] = {}
    pid = 0
    for line in text.splitlines():
        owner = _NAMESPACE_OWNER.match(line)
        if owner:
            pid = int(owner[1])
            continue
        namespace = _NAMESPACE.search(line)
        if namespace and pid in names:
            found.setdefault(namespace[1], names[pid])
    return [Thing(Kind.NAMESPACE, key, f"{key} of process {who}") for key, who in found.items()]


def _by_process(text: str) -> dict[int, str]:
    """Return the last line of each process in the output of `grep '' /proc/PID/…`."""
    pieces = _OF_PROCESS.split(text)
    return {int(pid): line for pid, line in zip(pieces[1::2], pieces[2::2])}


def _kernel(sections: dict[str, str]) -> list[Thing]:
    mounts = []
    for line in sections["mounts"].splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(), after.split()
        point = _unescaped(fields[_POINT])
        text = f"{rest[_TYPE]} at {point} (of {_unescaped(rest[_SOURCE])})"
        mounts.append(Thing(Kind.MOUNT, text, text))
    cgroups = [Thing(Kind.CGROUP, path, path) for path in sections["cgroups"].splitlines()]
    return [*cgroups, *mounts]


def _network(sections: dict[str, str]) -> list[Thing]:
    addresses = parse_addresses(sections["interfaces"])
    links = [link.name for link in parse_links(sections["interfaces"])]
    return [
        *(Thing(Kind.ADDRESS, str(each), str(each)) for each in addresses),
        *(Thing(Kind.LINK, name, name) for name in links),
        *(Thing(Kind.ROUTE, str(x), str(x)) for x in parse_routes(sections["routes"])),
        *(Thing(Kind.LISTENER, str(x), str(x)) for x in parse_listeners(sections["listeners"])),
    ]


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)
