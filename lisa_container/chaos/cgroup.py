"""Processes of the node in the cgroup of a container, and the kernel's figures of that."""

from __future__ import annotations

import re
import shlex

from lisa_container.chaos.target import Target
from lisa_container.engine.lease.lease import Lease
from lisa_container.engine.lease_id import TAG

_TAG = "LISA_CONTAINER_FAULT"
# Folders of the cgroups of a process: version 2, or each controller of version 1.
_FOLDERS = """\
while IFS=: read -r number kinds path; do
    folder=/sys/fs/cgroup/${{kinds:-.}}$path
    [ -w "$folder/cgroup.procs" ] && echo "$folder"
done </proc/{pid}/cgroup"""


def start_process(target: Target, id: str, program: str, in_cgroup: bool = True) -> None:
    """Start a program of the node, which ends with the fault, or with the lease at the latest.

    Args:
        target: The container.
        id: Id of the fault.
        program: Script of the node's sh.
        in_cgroup: Whether the program counts as the container's, and towards its limits.

    Raises:
        FaultError: The node could not start it.
    """
    lease = Lease.of(target.engine).id
    find = ""
    if in_cgroup:
        find = f"""\
folders=$({_FOLDERS.format(pid=target.pid)})
[ "$folders" ] || {{ echo "no cgroup of process {target.pid} can be written"; exit 1; }}
export folders
"""
        program = f"""\
for folder in $folders; do
    echo $$ >"$folder/cgroup.procs" || exit 1
done
{program}"""
    words = f"env {TAG}={lease} {_TAG}={id} sh -c {shlex.quote(program)}"
    target.run(f"{find}setsid {words} </dev/null >/dev/null 2>&1 &")


def end_processes(id: str) -> str:
    """Return a script that kills the processes of a fault, and succeeds when there are none.

    Args:
        id: Id of the fault.
    """
    return f"""\
tries=0
while files=$(grep -l '{_TAG}={id}' /proc/[0-9]*/environ 2>/dev/null) && [ $tries -lt 50 ]; do
    for file in $files; do
        process=${{file#/proc/}}
        kill -9 "${{process%/environ}}" 2>/dev/null
    done
    tries=$((tries + 1))
    sleep 0.1
done
[ ! "$files" ]"""


def read_figure(target: Target, version_2: str, version_1: str, pattern: str = "") -> float:
    """Return a figure of the kernel about the cgroup of a container.

    Args:
        target: The container.
        version_2: Name of the file in cgroup version 2.
        version_1: Name of the file in version 1.
        pattern: Regular expression with a group for the number; the whole file by default.
    """
    text = target.run(f"""\
{_FOLDERS.format(pid=target.pid)} | while read -r folder; do
    cat "$folder/{version_2}" "$folder/{version_1}" 2>/dev/null || :
done""")
    match = re.search(pattern or r"^(\d+)$", text, re.M)
    return float(match[1]) if match else 0.0
