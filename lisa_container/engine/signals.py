"""Signals to a command in a container: to all its processes, and for sure.

Ending the client of an exec leaves the process running
(https://github.com/opencontainers/runc/issues/3359), and the engine's API has no call to signal
an exec. runc makes each exec the leader of a session and of a process group, so those are
signalled, in one of three ways: by the container's own shell, by a program of ours put into a
container without one, or, where root may not do it in the container, from the node.
"""

from __future__ import annotations

import re
import secrets
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable

import paramiko
from lisa.node import Node

from lisa_container.engine.archive import pack_bytes
from lisa_container.engine.client import Engine
from lisa_container.engine.paths import may_look, stat_path
from lisa_container.engine.programs import HELPER_FOLDER, kill_program
from lisa_container.errors import CommandNotStartedError, EngineError, KillError

# Runs a program in the container as root: argv, and whether with all capabilities; its exit code.
Run = Callable[[list[str], bool], int]

# `kill -- -1` is what POSIX says, but dash does not know the "--". $0: signal, $1: leader.
_SIGNAL = 'kill "-$0" "-$1"'

# Kills the group at once, and then what left it for a group of its own (as timeout(1) does) but
# not the session. Fields behind the name in proc(5)'s stat: state, parent, group, session.
# $0: the leader. Exit code: 0 nothing is left, 3 something had to be killed, 4 may not kill.
_KILL_ALL = """
kill -9 "-$0" 2>/dev/null
left=0
for file in /proc/[0-9]*/stat; do
    { read -r line <"$file"; } 2>/dev/null || continue
    set -- ${line##*) }
    case $1 in Z|X) continue ;; esac
    if [ "$3" = "$0" ] || [ "$4" = "$0" ]; then
        left=3
        kill -9 "${line%% *}" 2>/dev/null || [ ! -d "${file%/stat}" ] || exit 4
    fi
done
exit $left
"""
_NOTHING_LEFT, _KILLED_SOME = 0, 3

# One at a time: each needs one of sshd's few sessions (MaxSessions), and LISA uses those too.
_one_at_a_time = threading.Lock()
_TRIES = 5


@dataclass(frozen=True)
class Target:
    """A command to signal.

    Args:
        engine: of the node.
        container: as the user calls it, for messages.
        container_id: the full id.
        host_pid: of the command, which leads its session and group, as the node sees it.
        run: runs a program in the container.
    """

    engine: Engine
    container: str
    container_id: str
    host_pid: int
    run: Run


class _UnableError(Exception):
    """One way does not work; the message says why."""


class _Shell:
    """The container's own shell, as root, with all capabilities where it may not otherwise."""

    def __init__(self, run: Run, leader: int) -> None:
        self._run = run
        self._leader = leader

    def signal(self, number: int) -> None:
        self._script([_SIGNAL, str(number), str(self._leader)], [0])

    def kill_all(self) -> bool:
        words = [_KILL_ALL, str(self._leader)]
        return self._script(words, [_NOTHING_LEFT, _KILLED_SOME]) == _NOTHING_LEFT

    def _script(self, words: list[str], good: list[int]) -> int:
        said = ""
        for privileged in (False, True):
            try:
                exit_code = self._run(["sh", "-c", *words], privileged)
            except CommandNotStartedError as error:
                said = error.reason
                continue
            except EngineError as error:
                said = str(error)
                continue
            if exit_code in good:
                return exit_code
            said = f"the container's shell could not (exit code {exit_code})"
        raise _UnableError(said)


class _Node:
    """The node, as root."""

    def __init__(self, node: Node, leader: int) -> None:
        self._node = node
        self._leader = leader

    def signal(self, number: int) -> None:
        self._script(f"{_SIGNAL}' {number} {self._leader}", [0])

    def kill_all(self) -> bool:
        exit_code = self._script(f"{_KILL_ALL}' {self._leader}", [_NOTHING_LEFT, _KILLED_SOME])
        return exit_code == _NOTHING_LEFT

    def _script(self, words: str, good: list[int]) -> int:
        try:
            result = self._node.execute(f"sh -c '{words}", sudo=True, no_info_log=True)
        except Exception as error:  # LISA, spur and paramiko raise many kinds
            raise _UnableError(f"the node could not: {error}") from error
        if result.exit_code not in good:
            said = f"{result.stdout} {result.stderr}".strip()
            raise _UnableError(f"the node could not (exit code {result.exit_code}): {said}")
        return int(result.exit_code or 0)


class _Program:
    """A program of ours, for images without a shell."""

    def __init__(self, target: Target, leader: int) -> None:
        self._engine = target.engine
        self._container = target.container_id
        self._run = target.run
        self._leader = leader

    def signal(self, number: int) -> None:
        with self._engine.errors(self._container):
            found = self._engine.api.inspect_container(self._container)
        if not may_look(self._engine, found):
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
        exit_code = self._run([path], False)
        if exit_code != 0:
            raise _UnableError(f"our program could not (error number {exit_code})")

    def kill_all(self) -> bool:
        self.signal(9)
        return True  # a group is killed at once, and no more can be seen from here


def signal_group(target: Target, number: int) -> None:
    """Send a signal to the process group of a command.

    Args:
        target: the command.
        number: signal(7).

    Raises:
        KillError: no way worked.
    """
    _try_ways(target, number, lambda way: way.signal(number))


def kill_session(target: Target, seconds: float) -> None:
    """Kill all processes of a command's group and session and see them gone.

    Args:
        target: the command.
        seconds: how long they may take to disappear.

    Raises:
        KillError: no way worked, or they do not end.
    """
    with target.engine.errors(target.container):
        state = target.engine.api.inspect_container(target.container_id)["State"]
    if state.get("Paused"):
        # A killed process dies when it is thawed, and so the way from the node works.
        _try_ways(target, 9, lambda way: way.signal(9))
        raise KillError(target.container, 9, "the container is paused; it dies when that ends")
    deadline = time.monotonic() + seconds

    def kill(way: _Shell | _Node | _Program) -> None:
        while not way.kill_all():
            if time.monotonic() > deadline:
                raise KillError(target.container, 9, "its processes do not end")
            time.sleep(0.1)

    _try_ways(target, 9, kill)


def _try_ways(
    target: Target, number: int, act: Callable[[_Shell | _Node | _Program], None]
) -> None:
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


def _ways(target: Target) -> Iterator[_Shell | _Node | _Program]:
    leader = _inside_pid(target)
    yield _Shell(target.run, leader)
    yield _Program(target, leader)
    # Last, as LISA takes some seconds to find out whether sudo works there.
    yield _Node(target.engine.node, target.host_pid)


def _inside_pid(target: Target) -> int:
    """The process id within the container."""
    said = ""
    for _ in range(_TRIES):
        try:
            said = target.engine.node.execute(
                f"cat /proc/{target.host_pid}/status /proc/{target.host_pid}/cgroup",
                no_info_log=True,
                no_error_log=True,
            ).stdout
            break
        except paramiko.SSHException:
            time.sleep(0.3)  # sshd's sessions were all in use
        except Exception as error:  # LISA, spur and paramiko raise many kinds
            raise _UnableError(f"the node cannot be asked: {error}") from error
    match = re.search(r"^NSpid:.*\s(\d+)\s*$", said, re.MULTILINE)
    # Where the engine is not in the node's own pid namespace, the number is somebody else's.
    if match is None or target.container_id not in said:
        raise _UnableError("the process is not visible on the node")
    return int(match.group(1))


def signal_leader(run: Run, container: str, leader: int, number: int) -> None:
    """Send a signal to a process group whose leader's pid in the container is known.

    Args:
        run: runs a program in the container.
        container: as the user calls it, for messages.
        leader: of the group; the container has a shell.
        number: signal(7).

    Raises:
        KillError: it did not work.
    """
    try:
        _Shell(run, leader).signal(number)
    except _UnableError as error:
        raise KillError(container, number, str(error)) from error


def kill_leader(run: Run, container: str, leader: int, seconds: float) -> None:
    """The same with SIGKILL, for all of the group and session, and see them gone.

    Args:
        seconds: how long they may take to disappear.

    Raises:
        KillError: it did not work, or they do not end.
    """
    shell = _Shell(run, leader)
    deadline = time.monotonic() + seconds
    try:
        while not shell.kill_all():
            if time.monotonic() > deadline:
                raise KillError(container, 9, "its processes do not end")
            time.sleep(0.05)
    except _UnableError as error:
        raise KillError(container, 9, str(error)) from error
