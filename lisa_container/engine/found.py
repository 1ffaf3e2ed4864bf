"""Engines that run on a machine, found by its processes, whether or not their sockets answer."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from lisa_container.escaping import printable

# Prints "pid TAB name TAB command TAB sockets" for each engine in the shell's own pid namespace,
# and "inside" for each one in a namespace below, of a container or a sandbox node. NSpid has one
# process id for each namespace (proc(5)). The state 00010000 of a socket is "listening".
# Other users' descriptors are only shown to root; without them the sockets are unknown.
FIND_ENGINES = r"""
for folder in /proc/[0-9]*; do
    read -r name <$folder/comm || continue
    command=$(tr '\000\t\n' '   ' <$folder/cmdline)
    case "$name $command" in dockerd" "*|podman" "*" system service"*) ;; *) continue ;; esac
    case $(grep ^NSpid: $folder/status) in
        NSpid:*[0-9]*[[:blank:]]*[0-9]*) echo inside; continue ;;
        NSpid:*) ;;
        *) continue ;;
    esac
    held=" $(ls -l $folder/fd | sed -n 's/.*socket:\[\([0-9]*\)\]$/\1/p' | tr '\n' ' ')"
    sockets=
    while read -r _ _ _ state _ _ inode path; do
        [ "$state" = 00010000 ] || continue
        case "$held" in *" $inode "*) sockets="$sockets $path" ;; esac
    done </proc/net/unix
    printf '%s\t%s\t%s\t%s\n' "${folder#/proc/}" "$name" "$command" "$sockets"
done 2>/dev/null
:"""

_INSIDE = "inside"
# Seconds for the look at this machine's processes.
_TIMEOUT = 10
_MOST_SHOWN = 200
# Sockets that an engine has for other programs than its clients.
_NOT_FOR_CLIENTS = ("/libnetwork/", "metrics.sock", "/containerd/")


@dataclass(frozen=True)
class FoundEngine:
    """Process of an engine."""

    pid: int
    name: str
    """`dockerd` or `podman`."""
    command: str
    """Command line of the process."""
    sockets: tuple[str, ...]
    """Paths of the unix sockets at which it listens for clients, as far as they are known."""

    def __str__(self) -> str:
        """Return process, pid and sockets, for messages."""
        listens = " and ".join(self.sockets)
        where = f"listens at {listens}" if listens else f"was started as '{self._shown}'"
        return f"'{self.name}' (pid {self.pid}) runs and {where}"

    @property
    def _shown(self) -> str:
        return printable(self.command.strip())[:_MOST_SHOWN]


def read_found(output: str) -> list[FoundEngine]:
    """Return the engines in the output of `FIND_ENGINES`."""
    found = []
    for line in output.splitlines():
        pid, tab, rest = line.partition("\t")
        parts = rest.split("\t")
        if not tab or not pid.isdigit() or len(parts) != 3:
            continue  # not a line of the script's
        name, command, sockets = parts
        known = [x for x in sockets.split() if not any(part in x for part in _NOT_FOR_CLIENTS)]
        found.append(FoundEngine(int(pid), name, command, tuple(known)))
    return found


def engines_here() -> list[FoundEngine]:
    """Return the engines that run on this machine; none if that cannot be found out."""
    return read_found(_find_here())


def describe_inside() -> str:
    """Return a sentence about engines of containers and sandbox nodes on this machine, or ""."""
    count = _find_here().splitlines().count(_INSIDE)
    if not count:
        return ""
    return (
        f"The {count} other engine{'s' * (count > 1)} on this machine can only be reached as part "
        "of a container or a sandbox node: connect to the sandbox node over SSH."
    )


def _find_here() -> str:
    try:
        done = subprocess.run(
            ["sh", "-c", FIND_ENGINES],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def describe(engines: Sequence[FoundEngine]) -> str:
    """Return sentences about engines that run but do not answer, and how to reach them."""
    if not engines:
        return ""
    sentences = [f"{engine}." for engine in engines]
    if any(engine.sockets for engine in engines):
        path = next(x for engine in engines for x in engine.sockets)
        sentences.append(
            f"Reach it there (on this machine: DOCKER_HOST=unix://{path}), or have it listen at the"
            " usual socket."
        )
    else:
        sentences.append("Have it listen at the usual socket, or restart it.")
    return " ".join(sentences)
