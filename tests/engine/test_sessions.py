"""Test resident shells: complete output, broken shells, and processes that commands leave."""

from __future__ import annotations

import io
import logging
import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from lisa.node import Node

from lisa_container import (
    CommandNotStartedError,
    CommandTimeoutError,
    ConfigError,
    ContainerDiedError,
    ContainerExecutor,
    ContainerTestConfig,
    EngineError,
)
from lisa_container.container.output import TAIL
from lisa_container.container.session.command import SessionCommand
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.engines import cut_connections, sshd_pids
from tests.support.nodes import BUSYBOX
from tests.support.soak import amount, dice
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.boxes"]

MIB = 1 << 20


# --- much output --------------------------------------------------------------------------------


def _memory() -> int:
    """Return the resident memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


HUNDRED = f"yes 0123456789abcde | head -c {100 * MIB}"


def test_hundred_mebibytes_to_a_file(box: ContainerExecutor, tmp_path: Path) -> None:
    path = tmp_path / "out"
    box.run("true")
    before = _memory()
    result = box.run(f"{HUNDRED}; echo also >&2", stdout=path)
    assert _memory() - before < 30 * MIB
    assert path.stat().st_size == 100 * MIB
    with path.open("rb") as file:
        assert all(file.read(16 * 4096) == b"0123456789abcde\n" * 4096 for _ in range(1600))
    assert (len(result.stdout_bytes), result.is_cut) == (TAIL, True)
    assert result.stderr == "also"


def test_hundred_mebibytes_to_a_callback(box: ContainerExecutor) -> None:
    count = 0

    def take(data: bytes) -> None:
        nonlocal count
        count += len(data)

    before = _memory()
    result = box.run(HUNDRED, on_stdout=take)
    assert _memory() - before < 30 * MIB
    assert (count, len(result.stdout_bytes)) == (100 * MIB, TAIL)


def test_kept_output(box: ContainerExecutor, tmp_path: Path) -> None:
    count = 3 * MIB
    command = f"yes | head -c {count}; echo end"
    assert len(box.run(command).stdout_bytes) == count + 4
    kept = box.run(command, stdout=tmp_path / "out", keep_output=True)
    assert (len(kept.stdout_bytes), kept.is_cut) == (count + 4, False)
    cut = box.run(command, keep_output=False)
    assert (len(cut.stdout_bytes), cut.stdout_bytes[-4:], cut.is_cut) == (TAIL, b"end\n", True)
    short = box.run("echo end", stdout=tmp_path / "out")
    assert (short.stdout, short.is_cut) == ("end", False)


def test_open_file_stays_open(box: ContainerExecutor) -> None:
    file = io.BytesIO()
    box.run("echo one; echo two >&2", stdout=file, stderr=file)
    assert sorted(file.getvalue().split()) == [b"one", b"two"]


def test_file_that_cannot_be_written(box: ContainerExecutor) -> None:
    with pytest.raises(OSError, match="No space left"):
        box.run("echo x; sleep 103", stdout="/dev/full", timeout=30)
    assert "sleep 103" not in box.run(["ps", "-o", "args"]).stdout
    with pytest.raises(FileNotFoundError):
        box.run("echo x", stdout="/not/there/out")


def test_output_that_looks_like_a_mark(box: ContainerExecutor) -> None:
    """The first byte of a mark in an output is neither held back nor taken for a mark."""
    assert box.run("printf '\\036'").stdout_bytes == b"\x1e"
    seen: list[bytes] = []
    running = box.run_async("printf 'a\\036b'; sleep 60", on_stdout=seen.append)
    eventually(lambda: b"".join(seen) == b"a\x1eb")
    running.kill()


# --- streams and processes ----------------------------------------------------------------------


def test_merged_stderr_is_in_order(box: ContainerExecutor) -> None:
    words = "for i in 1 2 3 4; do echo o$i; echo e$i >&2; done"
    result = box.run(words, merge_stderr=True)
    assert result.stdout.split() == ["o1", "e1", "o2", "e2", "o3", "e3", "o4", "e4"]
    assert result.stderr == ""


@pytest.mark.parametrize("size", [1, 4096, 4097, 100_000])
def test_stdin_short_and_long(box: ContainerExecutor, size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert box.run(["cat"], stdin=data).stdout_bytes == data
    result = box.run("wc -c; echo rest; exit 4", stdin=data)
    assert (result.stdout.split(), result.exit_code) == ([str(size), "rest"], 4)


def test_short_stdin_and_a_deadline(box: ContainerExecutor) -> None:
    with pytest.raises(CommandTimeoutError, match="was killed"):
        box.run("cat; sleep 104", stdin=b"abc", timeout=1)
    assert "sleep 104" not in box.run(["ps", "-o", "args"]).stdout


def test_processes_left_are_reported(box: ContainerExecutor) -> None:
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    box.host.log.addHandler(handler)
    leave = "sleep 105 >/dev/null 2>&1 &"
    try:
        assert box.run(leave).left_processes
        assert len(said) == 1 and "sleep 105" in said[0] and "nohup=True" in said[0]
        assert box.run(leave, nohup=True).left_processes
        assert len(said) == 1
    finally:
        box.host.log.removeHandler(handler)
    assert box.run("ps -o args | grep -c '^sleep 105'").stdout == "2"  # they live on
    box.run("kill $(ps -o pid,args | awk '$2 == \"sleep\" && $3 == 105 {print $1}')")
    assert not box.run("true").left_processes


def test_worker_stays_while_nothing_is_left(box: ContainerExecutor) -> None:
    """A worker that stays makes trivial commands quick; no two commands share a process group."""
    group = ["cut", "-d", " ", "-f", "5", "/proc/self/stat"]
    box.run("true")
    first = box.run(group).stdout
    assert [box.run(group).stdout for _ in range(3)] == [first] * 3
    box.run("sleep 106 >/dev/null 2>&1 &", nohup=True)
    second = box.run(group).stdout
    assert second != first
    assert box.run_async(group).wait().stdout == second  # the worker itself, which ends with it
    assert box.run(group).stdout not in (first, second)
    box.run("kill $(ps -o pid,args | awk '$2 == \"sleep\" && $3 == 106 {print $1}')")


@pytest.mark.parametrize("words", ["0.00 0.00 0.00 0/0 0", ""])
def test_kernel_without_last_pid(node: Node, machine: SandboxNode, words: str) -> None:
    """Sessions work where the kernel does not report its newest process, as in gVisor."""
    machine.run(f"echo '{words}' >/root/loadavg")
    volumes = {"/root/loadavg": "/proc/loadavg:ro"}
    config = ContainerTestConfig(image=BUSYBOX, volumes=volumes)
    try:
        with ContainerExecutor(node, config) as container:
            for _ in range(3):
                assert container.run("cat /proc/loadavg").stdout == words
                assert container.run("sleep 107 >/dev/null 2>&1 &", nohup=True).left_processes
    finally:
        machine.run("rm /root/loadavg")


def test_late_kill(box: ContainerExecutor) -> None:
    """Output and end of a command that ended by itself are not those of the next command."""
    ended = 0
    for round_ in range(60):
        begun = time.monotonic()
        try:
            box.run("echo early; sleep 0.02", timeout=0.015 + 0.0005 * round_)
            ended += 1
        except CommandTimeoutError as error:
            assert time.monotonic() - begun < 10, error
        for word in ("a", "b"):
            result = box.run(["echo", word])
            assert (result.stdout, result.exit_code) == (word, 0), round_
    assert 0 < ended < 60


def test_output_of_background_processes_is_dropped(box: ContainerExecutor) -> None:
    """Output of processes that a command left goes to no later command."""
    assert box.run("(sleep 0.2; echo late; echo late >&2) &", nohup=True).left_processes
    for _ in range(10):
        result = box.run("sleep 0.05; echo x")
        assert (result.stdout, result.stderr) == ("x", "")


# --- broken shells ------------------------------------------------------------------------------


@pytest.fixture
def own(node: Node) -> Iterator[ContainerExecutor]:
    """Yield a container that the test may break."""
    with ContainerExecutor(node, ContainerTestConfig(image=BUSYBOX)) as container:
        yield container


def _break(how: str, machine: SandboxNode, box: ContainerExecutor) -> None:
    if how == "lisa closes":
        box.host.close()
    elif how == "sshd dies":
        cut_connections(machine, box.host.connection_info["username"])
    elif how == "shell dies":
        machine.run(f"docker exec {box.name} sh -c 'kill -9 $(pidof sh)'", check=False)
    elif how == "restart":
        box.restart()
    else:
        machine.run(f"docker restart -t 0 {box.name}")


@pytest.mark.parametrize(
    "how", ["lisa closes", "sshd dies", "shell dies", "restart", "restart behind our back"]
)
def test_broken_between_commands(own: ContainerExecutor, machine: SandboxNode, how: str) -> None:
    """A shell that breaks between commands causes no error, and nothing runs twice."""
    for number in range(1, 4):
        own.run("echo x >>/count", expected_exit_code=0)
        _break(how, machine, own)
        assert own.run("echo x >>/count; wc -l </count").stdout == str(2 * number)


@pytest.mark.parametrize("how", ["lisa closes", "sshd dies"])
def test_broken_under_commands(own: ContainerExecutor, machine: SandboxNode, how: str) -> None:
    """A command that may have run is not run again; the error says that it may still run."""
    chance = dice(f"broken by {how}")
    failures = 0
    for number in range(12):
        own.run("true")
        breaker = threading.Timer(chance.random() * 0.3, _break, (how, machine, own))
        breaker.start()
        try:
            own.run(f"echo {number} >>/count; sleep 0.2")
        except EngineError as error:
            assert "may still run" in str(error)
            failures += 1
        finally:
            breaker.join()
            time.sleep(0.05)  # a shell that answered 3 ms ago is not asked whether it is there
    assert failures
    counts = own.run("uniq -c /count").stdout.split("\n")
    assert [line.split()[0] for line in counts] == ["1"] * len(counts)


def test_engine_failure_is_distinguished_from_container_and_node(
    own: ContainerExecutor, machine: SandboxNode
) -> None:
    running = own.run_async("echo begun; sleep 106")
    eventually(lambda: running._stdout.kept)
    machine.run(f"docker rm -f {own.name}")
    with pytest.raises(ContainerDiedError, match="not there"):
        running.wait(30)


# --- many commands ------------------------------------------------------------------------------


@pytest.mark.soak
def test_thousands_of_commands(own: ContainerExecutor, machine: SandboxNode) -> None:
    """One session runs thousands of commands; memory, files and processes do not grow."""
    user = own.host.connection_info["username"]

    def usage() -> list[int]:
        transport: Any = own.engine.dialer.keepalive_target()
        sshd = [f"ls /proc/{pid}/fd | wc -l" for pid in sshd_pids(machine, user)]
        on_node = sum(int(x) for x in machine.run("; ".join(sshd)).stdout.split())
        processes = int(own.run("ls -d /proc/[0-9]* | wc -l").stdout)
        files = len([*Path("/proc/self/fd").iterdir()])
        return [threading.active_count(), files, len(transport._channels), on_node, processes]

    own.run("true")
    before, memory = usage(), _memory()
    wrong = []
    for number in range(amount(10_000, 1_000)):
        result = own.run(f"echo {number}; echo e{number} >&2; exit {number % 100}")
        seen = (result.stdout_bytes, result.stderr_bytes, result.exit_code)
        if seen != (b"%d\n" % number, b"e%d\n" % number, number % 100):
            wrong.append((number, seen))
    assert wrong == []
    after = usage()
    # The renewal of the lease may begin meanwhile: one channel, and one process on the node.
    assert all(now <= then + 10 for now, then in zip(after, before)), (before, after)
    assert _memory() - memory < 30 * MIB


# --- comparison with docker exec ----------------------------------------------------------------

TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=40)
NAMES = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,10}\Z").filter(lambda x: x not in {"PATH", "_"})
ENVIRONMENTS = st.dictionaries(
    st.one_of(NAMES, st.sampled_from(["IFS", "A.B", "ü"])), TEXT, max_size=3
)
# Prints everything that a command can see of its start, then its stdin byte by byte.
SHOW = 'for x in "$@"; do printf "[%s]" "$x"; done; env; pwd; cat; printf "%s" "$1" >&2; exit $2'


@pytest.fixture(scope="module")
def by_cli(machine: SandboxNode) -> Callable[..., tuple[bytes, bytes, int]]:
    """Return a function that runs a command by `docker exec`."""

    def run(
        container: str, argv: list[str], environment: dict[str, str], cwd: str, stdin: bytes
    ) -> tuple[bytes, bytes, int]:
        options = [
            word for name, value in environment.items() for word in ("-e", f"{name}={value}")
        ]
        words = ["docker", "exec", "-i", "-w", cwd, *options, container, *argv]
        done = subprocess.run(machine._entering(words), input=stdin, capture_output=True)
        return done.stdout, done.stderr, done.returncode

    return run


def _sorted(output: bytes) -> list[bytes]:
    """Return the lines sorted, because the order of variables is undefined."""
    return sorted(output.split(b"\n"))


@pytest.mark.soak
@settings(
    max_examples=amount(300, 20),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    words=st.lists(TEXT, max_size=3),
    environment=ENVIRONMENTS,
    cwd=st.sampled_from(["/", "/etc", "/bin/.."]),
    stdin=st.one_of(st.binary(max_size=200), st.binary(min_size=4000, max_size=5000)),
    code=st.integers(0, 255),
)
def test_as_docker_exec(
    box: ContainerExecutor,
    by_cli: Callable[..., tuple[bytes, bytes, int]],
    words: list[str],
    environment: dict[str, str],
    cwd: str,
    stdin: bytes,
    code: int,
) -> None:
    argv = ["sh", "-c", SHOW, "name", *([*words, ""][:1]), str(code), *words[1:]]
    result = box.run(argv, cwd=cwd, update_envs=environment, stdin=stdin)
    stdout, stderr, exit_code = by_cli(box.name, argv, environment, cwd, stdin)
    note(f"{result.stdout_bytes!r} {stdout!r}")
    assert (result.stderr_bytes, result.exit_code) == (stderr, exit_code)
    assert _sorted(result.stdout_bytes) == _sorted(stdout)


@pytest.mark.soak
@settings(
    max_examples=amount(300, 20),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    out=st.binary(max_size=300),
    err=st.binary(max_size=300),
    end=st.sampled_from(["exit 0", "exit 77", "kill -9 $$", "kill -15 $$"]),
)
def test_any_bytes_as_docker_exec(
    box: ContainerExecutor,
    by_cli: Callable[..., tuple[bytes, bytes, int]],
    out: bytes,
    err: bytes,
    end: str,
) -> None:
    def print_command(data: bytes) -> str:
        return "printf '" + "".join(f"\\{x:03o}" for x in data) + "'"

    text = f"{print_command(out)}; {print_command(err)} >&2; {end}"
    result = box.run(text)
    assert (result.stdout_bytes, result.stderr_bytes) == (out, err)
    stdout, stderr, exit_code = by_cli(box.name, ["sh", "-c", text], {}, "/", b"")
    assert (stdout, stderr, exit_code) == (out, err, result.exit_code)


@pytest.mark.parametrize(
    "command",
    [
        "break; echo after",
        "continue; echo after",
        "return 3; echo after",
        "echo x \\",
        "echo $LINENO",
        "nosuchcmd",
        "echo a; nosuchcmd; echo b",
        "/bin/nosuch",
        "/etc",
        "cd /nosuch",
        "exit abc",
        "kill 999999",
        "test 1 -eq x",
        "echo x >/no/such",
        "echo 'x",
        "if",
        "set -u; echo $NOTHING",
        "echo ${NOTHING?missing}",
        "set | grep -v ^PPID",
        "env",
        "echo $0 $#",
        "trap",
        "umask; pwd; echo $PWD-$OLDPWD",
        "",
        "#",
        "\n\necho $LINENO\nnosuch",
        ["env"],
        ["sh", "-c", "env"],
        ["env", "A=b", "env"],
    ],
)
def test_surroundings_as_docker_exec(
    box: ContainerExecutor,
    by_cli: Callable[..., tuple[bytes, bytes, int]],
    command: str | list[str],
) -> None:
    """A command does not see the resident shell's loop, lines, variables and functions."""
    result = box.run(command)
    argv = ["sh", "-c", command] if isinstance(command, str) else command
    stdout, stderr, code = by_cli(box.name, argv, {}, "/", b"")
    assert (_sorted(result.stdout_bytes), result.stderr_bytes, result.exit_code) == (
        _sorted(stdout),
        stderr,
        code,
    )


def test_variables_that_no_shell_hands_on(node: Node) -> None:
    environment = {"discovery.type": "single-node", "OPTIND": "7", "SHLVL": "5", "PWD": "/x"}
    config = ContainerTestConfig(image=BUSYBOX, environment=environment)
    with ContainerExecutor(node, config) as container:
        lines = container.run(["env"]).stdout.splitlines()
    assert {f"{name}={value}" for name, value in environment.items()} <= set(lines)


def test_unknown_user_slows_no_other_command(own: ContainerExecutor) -> None:
    with pytest.raises(CommandNotStartedError, match="nobodyhere"):
        own.run("true", user="nobodyhere")
    assert isinstance(own.run_async("true")._process, SessionCommand)
    own.run("echo nobodyhere:x:77:77::/: >>/etc/passwd")
    assert isinstance(own.run_async("true", user="nobodyhere")._process, SessionCommand)


def test_bytes_that_the_engine_cannot_take_are_refused(box: ContainerExecutor) -> None:
    word = os.fsdecode(b"caf\xe9")
    assert box.run(["echo", word]).stdout_bytes == b"caf\xe9\n"
    with pytest.raises(ConfigError, match="not UTF-8"):
        box.run(["echo", word], stdin=io.BytesIO(b""))
