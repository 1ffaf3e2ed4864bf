"""Signals that reach all processes of a command in a container.

The end of an exec's client leaves the process running
(https://github.com/opencontainers/runc/issues/3359), and the engine's API cannot signal an exec.
runc makes each exec the leader of a session and of a process group, which get the signal in one of
three ways: from the container's own shell; from the node, if the container has no shell, or its
users may not send it; or from a program of ours, if the node's user may not become root. The last
one reaches only the group. In the container, a signal is sent by root, or else by the command's
user: root may lack CAP_KILL (capabilities(7)). No helper gets more capabilities than the container,
because its programs, `sh` too, may be hostile.

Descendants that change their group, session and parent are found by their mark, which they inherit:
a value of the soft limit RLIMIT_LOCKS (see `session.script`). The engine cannot set it. So only
commands that a shell starts have a mark: all strings, and all commands of a resident shell.
"""

from __future__ import annotations

import re
import secrets
import shlex
import tarfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Callable, Union

from lisa.node import Node

from lisa_container.archives.pack import pack_bytes
from lisa_container.container.paths import can_request_archives, stat_path
from lisa_container.container.programs import HELPER_FOLDER, kill_program
from lisa_container.engine.client import Engine
from lisa_container.engine.script import run_script
from lisa_container.errors import CommandNotStartedError, EngineError, KillError, SshLostError
from lisa_container.escaping import printable

# Function that runs a program in the container and returns its exit code and output. The arguments
# are argv, and whether root runs the program, not the command's own user.
Run = Callable[[list[str], bool], tuple[int, bytes]]

# POSIX has `kill -- -1`, but dash does not know the "--". $0 is the signal, $1 the leader.
_SIGNAL = 'kill "-$0" "-$1"'

# Kills a command's group, its session, and all its descendants, even if they changed their group,
# session or parent. The descendants are: the children of living children; processes with the
# command's mark; and processes that can write to its stdout or stderr, which are pipes of the
# engine. $0 is the leader, $1 the mark, $2 whether the leader's parent has the pipes, as a resident
# shell has (see `session.script`). The fields behind the name in proc(5)'s stat are state, parent,
# group and session; the 20th is the time of the start. Prints what was alive. Exit codes: 0 means
# that nothing is left, 3 that something was killed, 4 that a kill is not permitted, 5 that nothing
# was killed, because a younger process may have left by all ways, and its pipes cannot be read.
_KILL_ALL = r"""
exec 2>/dev/null
mark=$1 holder=$0 ends="1 2" start=99999999999999999 family=" $0 " all= hidden= left=0
if read -r line <"/proc/$0/stat"; then
    [ ! "$2" ] || ends="1 5"
    shell=$2
    set -- ${line##*) }
    start=${20}
    [ ! "$shell" ] || holder=$2
fi
limit() {
    while read -r word name part value word; do
        [ "$name$part" != filelocks ] || return 0
    done <"/proc/$1/limits"
    value=
}
writes() {
    for file in "/proc/$1/fd/"*; do
        for end in $ends; do
            [ -p "/proc/$holder/fd/$end" ] && [ "/proc/$holder/fd/$end" -ef "$file" ] || continue
            { read -r word && read -r word flags; } <"/proc/$1/fdinfo/${file##*/}"
            case $flags in *[12]) return 0 ;; esac
        done
    done
    return 1
}
for file in /proc/[0-9]*/stat; do
    read -r line <"$file" || continue
    pid=${line%% *}
    set -- ${line##*) }
    case $1 in Z|X) continue ;; esac
    all="$all $pid:$2"
    limit "$pid"
    if [ "$3" = "$0" ] || [ "$4" = "$0" ] || [ "$mark" = "${value:-.}" ]; then
        family="$family$pid "
    elif [ "/proc/$pid/ns/pid" -ef "/proc/$holder/ns/pid" ]; then
        [ "$pid" = "$holder" ] || ! writes "$pid" || family="$family$pid "
    elif [ "$value" = unlimited ] && [ ! -e "/proc/$pid/ns/pid" ] && [ "${20}" -ge "$start" ]; then
        hidden="$hidden $pid"
    fi
done
grown=1
while [ "$grown" ]; do
    grown=
    for each in $all; do
        case $family in *" ${each%:*} "*) continue ;; esac
        case $family in *" ${each#*:} "*) family="$family${each%:*} " grown=1 ;; esac
    done
done
for pid in $hidden; do
    case $family in *" $pid "*) ;; *) echo "process $pid may be its own"; exit 5 ;; esac
done
kill -9 "-$0"
for pid in $family; do
    read -r line <"/proc/$pid/stat" || continue
    case ${line##*) } in [ZX]*) continue ;; esac
    left=3 line=${line#*(}
    echo "$pid (${line%)*})"
    kill -9 "$pid" || [ ! -d "/proc/$pid" ] || exit 4
done
exit $left
"""
_KILLED = (0, 3)
# Largest number of survivors that an error names.
_MOST_NAMED = 10

# One signal at a time: each needs one of sshd's few sessions (MaxSessions), which LISA needs, too.
_one_at_a_time = threading.Lock()
_TRIES = 5


@dataclass(frozen=True)
class Target:
    """Command to signal.

    Args:
        engine: Engine of the node.
        container: Name of the container, for messages.
        container_id: Full id of the container.
        host_pid: Process id on the node of the command, which leads its session and group.
        run: Function that runs a program in the container.
        mark: Mark of the command's processes; empty if they have none.
        in_session: Whether a resident shell, the parent of the command, has the command's pipes.
    """

    engine: Engine
    container: str
    container_id: str
    host_pid: int
    run: Run
    mark: str
    in_session: bool = False

    @property
    def traces(self) -> list[str]:
        """Arguments of the script that finds the command's descendants."""
        return [self.mark, "1" if self.in_session else ""]


def new_number() -> int:
    """Return a new mark, ten digits; with a pid behind it, it fits 63 bits, too."""
    return 10**9 + secrets.randbelow(9 * 10**9)


class _UnableError(Exception):
    """One way to signal does not work; the message has the reason."""


class _Shell:
    """Signals from the container's own shell as root, or else as the command's user."""

    def __init__(self, run: Run, leader: int, traces: Sequence[str] = ()) -> None:
        self._run = run
        self._leader = leader
        self._traces = traces

    def signal(self, number: int) -> None:
        self._script([_SIGNAL, str(number), str(self._leader)], [0])

    def kill_all(self) -> str:
        return self._script([_KILL_ALL, str(self._leader), *self._traces], _KILLED)

    def _script(self, words: list[str], good: Sequence[int]) -> str:
        reason = ""
        for as_root in (True, False):
            try:
                exit_code, output = self._run(["sh", "-c", *words], as_root)
            except CommandNotStartedError as error:
                reason = error.reason
                continue
            except EngineError as error:
                reason = str(error)
                continue
            said = _named(output)
            if exit_code in good:
                return said
            reason = f"the container's shell could not (exit code {exit_code}): {said}"
        raise _UnableError(reason)


class _Node:
    """Signals from the node as root."""

    def __init__(self, node: Node, leader: int, traces: Sequence[str]) -> None:
        self._node = node
        self._leader = leader
        self._traces = traces

    def signal(self, number: int) -> None:
        self._script(f"{_SIGNAL}' {number} {self._leader}", [0])

    def kill_all(self) -> str:
        return self._script(f"{_KILL_ALL}' {self._leader} {shlex.join(self._traces)}", _KILLED)

    def _script(self, words: str, good: Sequence[int]) -> str:
        try:
            result = run_script(self._node, f"sh -c '{words}", sudo=True)
        except EngineError as error:
            raise _UnableError(f"the node could not: {error}") from error
        if result.exit_code not in good:
            raise _UnableError(
                f"the node could not (exit code {result.exit_code}): {result.output}"
            )
        return _named(result.stdout_bytes)


class _Program:
    """Signals from a program of ours, which needs neither a shell nor root on the node."""

    def __init__(self, target: Target, leader: int) -> None:
        self._engine = target.engine
        self._container = target.container_id
        self._run = target.run
        self._leader = leader

    def signal(self, number: int) -> None:
        with self._engine.errors(self._container):
            details = self._engine.api.inspect_container(self._container)
        if not can_request_archives(self._engine, details):
            raise _UnableError("no program of ours can be put in: it has the node's own root")
        folder = HELPER_FOLDER if stat_path(self._engine, self._container, HELPER_FOLDER) else "/"
        name = f"lisa_container_kill_{secrets.token_hex(4)}"
        path = f"{folder.rstrip('/')}/{name}"
        with self._engine.errors(self._container):
            architecture = str(self._engine.api.info()["Architecture"])
            program = kill_program(architecture, -self._leader, number, path)
            if program is None:
                raise _UnableError(f"there is no program of ours for {architecture}")
            info = tarfile.TarInfo(name)
            info.mode = 0o755
            self._engine.api.put_archive(self._container, folder, pack_bytes([(info, program)]))
        if all(self._run([path], as_root)[0] for as_root in (True, False)):
            raise _UnableError("our program could not")

    def kill_all(self) -> str:
        self.signal(9)
        return ""  # the group is killed at once, and this program cannot check more


_Way = Union[_Shell, _Node, _Program]


def _named(output: bytes) -> str:
    """Return the processes that a script has printed, for a message: the output may be hostile."""
    lines = output.decode(errors="replace").split("\n")[:_MOST_NAMED]
    return ", ".join(printable(line) for line in lines if line)


def signal_group(target: Target, number: int) -> None:
    """Send a signal to the process group of a command.

    Args:
        target: Command to signal.
        number: Signal number, signal(7).

    Raises:
        KillError: No way worked.
    """
    _try_ways(target, number, lambda way: way.signal(number))


def kill_session(target: Target, seconds: float) -> None:
    """Kill all processes of a command and wait until they are gone.

    Args:
        target: Command to kill.
        seconds: Time limit for the processes to end, in seconds.

    Raises:
        KillError: No way worked, or the processes do not end.
    """
    with target.engine.errors(target.container):
        state = target.engine.api.inspect_container(target.container_id)["State"]
    if state.get("Paused"):
        # A killed process dies when the container is unpaused. A signal from the node works.
        _try_ways(target, 9, lambda way: way.signal(9))
        raise KillError(target.container, 9, "the container is paused; it dies when that ends")
    deadline = time.monotonic() + seconds
    _try_ways(target, 9, lambda way: _kill_until(way, target.container, deadline))


def _kill_until(way: _Way, container: str, deadline: float) -> None:
    """Kill a command's processes until none is left."""
    while True:
        left = way.kill_all()
        if not left:
            return
        if time.monotonic() > deadline:
            raise KillError(container, 9, "its processes do not end", left)
        time.sleep(0.05)


def _try_ways(target: Target, number: int, act: Callable[[_Way], None]) -> None:
    reasons: list[str] = []
    with _one_at_a_time:
        try:
            for way in _ways(target):
                try:
                    return act(way)
                except (_UnableError, EngineError) as error:
                    reasons.append(str(error))
        except _UnableError as error:
            reasons.append(str(error))
    raise KillError(target.container, number, "; ".join(dict.fromkeys(reasons)))


def _ways(target: Target) -> Iterator[_Way]:
    leader = _inside_pid(target)
    yield _Shell(target.run, leader, target.traces)
    yield _Node(target.engine.node, target.host_pid, target.traces)
    yield _Program(target, leader)


def _inside_pid(target: Target) -> int:
    """Return the command's process id in the container."""
    status = ""
    for _ in range(_TRIES):
        try:
            script = f"cat /proc/{target.host_pid}/status /proc/{target.host_pid}/cgroup"
            status = run_script(target.engine.node, script).stdout
            break
        except SshLostError:
            time.sleep(0.3)  # all of sshd's sessions were in use
        except EngineError as error:
            raise _UnableError(f"the node cannot be asked: {error}") from error
    match = re.search(r"^NSpid:.*\s(\d+)\s*$", status, re.MULTILINE)
    # If the engine is not in the node's own pid namespace, the number is another process's.
    if match is None or target.container_id not in status:
        raise _UnableError("the process is not visible on the node")
    return int(match.group(1))


def signal_leader(run: Run, container: str, leader: int, number: int) -> None:
    """Send a signal to a process group in a container that has a shell.

    Args:
        run: Function that runs a program in the container.
        container: Name of the container, for messages.
        leader: Process id of the group's leader in the container.
        number: Signal number, signal(7).

    Raises:
        KillError: The signal could not be sent.
    """
    try:
        _Shell(run, leader).signal(number)
    except _UnableError as error:
        raise KillError(container, number, str(error)) from error


def kill_leader(run: Run, container: str, leader: int, mark: str, seconds: float) -> None:
    """Kill all processes of a resident shell's command and wait until they are gone.

    Args:
        run: Function that runs a program in the container.
        container: Name of the container, for messages.
        leader: Process id of the group's leader in the container.
        mark: Mark of the command's processes.
        seconds: Time limit for the processes to end, in seconds.

    Raises:
        KillError: A signal could not be sent, or the processes do not end.
    """
    try:
        _kill_until(_Shell(run, leader, [mark, "1"]), container, time.monotonic() + seconds)
    except _UnableError as error:
        raise KillError(container, 9, str(error)) from error
