"""Test that hostile processes in a container cannot answer for commands or hang the runner."""

from __future__ import annotations

import io
import itertools
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lisa.node import Node

from lisa_container import (
    CommandTimeoutError,
    ContainerExecutor,
    ContainerTestConfig,
    EngineError,
)
from lisa_container.container.exec import Exec
from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.errors import OutputLimitError
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import BUSYBOX, DOCKER_USER, add_user
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.boxes"]

MIB = 1 << 20


@pytest.fixture(scope="module")
def crowded(each_engine_user: Node) -> Iterator[ContainerExecutor]:
    """Yield a container with an init that reaps orphans."""
    with ContainerExecutor(each_engine_user, ContainerTestConfig(image=BUSYBOX)) as container:
        yield container


@pytest.fixture
def own(each_engine_user: Node) -> Iterator[ContainerExecutor]:
    """Yield a container that the test may break."""
    with ContainerExecutor(each_engine_user, ContainerTestConfig(image=BUSYBOX)) as container:
        yield container


# --- processes that a command leaves ------------------------------------------------------------

FAKE = "setsid sh -c 'sleep 0.3; while :; do echo FAKE; echo FAKE >&2; usleep 20000; done'"
# Takes its mark off before the command ends.
UNMARKED = (
    f"(ulimit -Sx 7; exec {FAKE.replace('sleep 0.3', ': >/tmp/off; sleep 0.3')}) & "
    "until [ -e /tmp/off ]; do usleep 1000; done; rm -f /tmp/off;"
)


def _live(container: ContainerExecutor, words: str) -> int:
    """Count the processes with this command line that are not zombies."""
    found = container.run(["ps", "-o", "stat,args"]).stdout.splitlines()
    return sum(words in line and not line.startswith("Z") for line in found)


def _end(container: ContainerExecutor) -> None:
    container.run(f"kill -9 $(ps -o pid,args | awk '/{'FAK[E]'}/ {{print $1}}')")
    eventually(lambda: not _live(container, "FAKE"))


@pytest.mark.sampled(7)
@pytest.mark.parametrize(
    "leave",
    [
        f"{FAKE} &",
        f"({FAKE} &)",
        ["sh", "-c", f"({FAKE} &) & exec true"],
        ["sh", "-c", 'x=set; ${x}sid sh -c "sleep 0.3; while :; do echo FAKE; done" & exit 3'],
        ["busybox", "sh", "-c", f"{FAKE} & exit 3"],
        UNMARKED,
        f"exec 7>&1; (exec >/dev/null 2>&1; {UNMARKED.replace('echo FAKE;', 'echo FAKE >&7;')})",
    ],
    ids=["a", "b", "c", "d", "e", "unmarked", "other descriptor"],
)
def test_output_of_a_left_process_is_no_other_command_s(
    crowded: ContainerExecutor, leave: str | list[str]
) -> None:
    assert crowded.run(leave, nohup=True).left_processes
    for number in range(12):
        result = crowded.run(f"sleep 0.05; echo {number}")
        assert (result.stdout, result.stderr) == (str(number), "")
        assert not result.left_processes
    _end(crowded)


def test_output_of_another_users_left_process(crowded: ContainerExecutor) -> None:
    """Output of an unmarked background process of another user is dropped.

    PAM may remove the mark, and then the kernel does not show whose process it is.
    """
    leave = f"su -s /bin/sh nobody -c {shlex.quote(UNMARKED)}"
    crowded.run(leave, nohup=True)
    assert _live(crowded, "FAKE")
    for number in range(12):
        result = crowded.run(f"sleep 0.05; echo {number}")
        assert (result.stdout, result.stderr) == (str(number), "")
    _end(crowded)


def test_processes_left_by_an_async_command(crowded: ContainerExecutor) -> None:
    assert crowded.run_async(f"{FAKE} &").wait(20).left_processes
    for number in range(12):
        running = crowded.run_async(f"sleep 0.05; echo {number}")
        assert running.wait(20).stdout == str(number)
    _end(crowded)


def test_concurrent_processes_are_not_left_processes(crowded: ContainerExecutor) -> None:
    busy = crowded.run_async("while :; do sleep 0.01; done")
    try:
        assert not any(crowded.run(f"ls / >/dev/null; exit {x}").left_processes for x in range(30))
    finally:
        busy.kill()


@pytest.mark.parametrize("is_fed", [False, True], ids=["session", "exec"])
def test_timeout_kills_all_descendants(crowded: ContainerExecutor, is_fed: bool) -> None:
    """A timeout kills descendants in another group, session, parent, output or without mark."""
    quiet = "(setsid sleep 107 >/dev/null 2>&1 &)"
    command = f"({FAKE} &); {FAKE} & ({UNMARKED}); {quiet}; sleep 107"
    crowded.run("true")
    with pytest.raises(CommandTimeoutError, match="was killed"):
        crowded.run(command, timeout=2, stdin=io.BytesIO(b"") if is_fed else None)
    assert not _live(crowded, "FAKE") and not _live(crowded, "sleep 107")
    for number in range(5):
        assert crowded.run(f"sleep 0.05; echo {number}").stdout == str(number)


def test_process_of_another_command_survives_a_time_out(crowded: ContainerExecutor) -> None:
    crowded.run("setsid sleep 108 >/dev/null 2>&1 &", nohup=True)
    for stdin in (None, io.BytesIO(b"")):
        crowded.run("true")
        with pytest.raises(CommandTimeoutError):
            crowded.run(["sleep", "109"], timeout=2, stdin=stdin)
    assert (_live(crowded, "sleep 108"), _live(crowded, "sleep 109")) == (1, 0)
    crowded.run("kill $(ps -o pid,args | awk '$2 == \"sleep\" && $3 == 108 {print $1}')")


def test_left_process_cannot_read_a_command(own: ContainerExecutor) -> None:
    """Another user's process reads neither the shell's stdin nor a command's variables."""
    spy = "for f in /proc/[0-9]*/fd/0 /proc/[0-9]*/environ; do [ -O $f ] || cat $f; done"
    spies = own.run_async(f"while :; do {spy}; done 2>/dev/null", user="nobody")
    seen: list[str] = [own.run("usleep 1000; true", update_envs={"S": "sesame"}).stdout]
    for _ in range(30):
        seen.append(own.run(["env"], update_envs={"S": "sesame"}).stdout)
    spies.kill()
    assert b"sesame" not in spies.wait(20).stdout_bytes
    assert all("S=sesame" in text for text in seen[1:])


def test_survivors_are_named(own: ContainerExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error names the surviving processes, as the container's hostile shell lists them."""
    monkeypatch.setattr("lisa_container.container.session.command._KILL_WAIT", 1.0)
    script = "case $2 in *holder=*) printf '77 (odd\\033[31m)\\n78 (other)\\n'; exit 3 ;; esac"
    lines = shlex.join(["#!/bin/busybox ash", script, 'exec busybox ash "$@"'])
    own.run(f"printf '%s\\n' {lines} >/bin/new; chmod +x /bin/new; mv /bin/new /bin/sh")
    with pytest.raises(CommandTimeoutError, match=r"do not end: 77 \(odd\\x1b\[31m\), 78 \(other"):
        own.run("sleep 111", timeout=0.5)


def test_unread_input_is_not_run(own: ContainerExecutor) -> None:
    for line in ("x", "\x1ex", "\x1ex?"):
        running = own.run_async("true", interactive=True)
        running.write(f"{line}\ntouch /run-as-command\n{line}\n".encode())
        running.wait(20)
    own.run("sleep 0.3")
    assert own.run("ls /run-as-command").exit_code != 0


# --- a hostile shell ----------------------------------------------------------------------------

# Behaves like our shell up to its first command, and then like an attacker. The limit of processor
# time, in seconds, ends an attack that floods its stream: the module's other tests need the processor.
HOSTILE = r"""#!/bin/busybox ash
PATH=/bin
ulimit -t 4
case $2 in *'eval "$lisa_container_shell"') ;; *) exec /bin/busybox ash "$@" ;; esac
take() { read -r l; while read -r l; do [ "$l" != "$t" ] || break; done; }
read -r t n
read -r l
printf '%s?\n' "$t"
take
printf '%s>5\n \\x\\%s-7 0\n' "$t" "$t"
printf '%s-\n' "$t" >&2
take
printf '%s>6\n%s-137 0\n' "$t" "$t"
printf '%s-\n' "$t" >&2
read -r l
. /attack
sleep 110
"""


@pytest.fixture(scope="module")
def hostile(
    each_engine_user: Node, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ContainerExecutor]:
    """Yield a container with a hostile shell, whose attack is in `/attack`."""
    script = tmp_path_factory.mktemp("hostile") / "sh"
    script.write_text(HOSTILE)
    script.chmod(0o755)
    with ContainerExecutor(each_engine_user, ContainerTestConfig(image=BUSYBOX)) as container:
        container.copy_to(script, "/bin/new")
        container.run("mv /bin/new /bin/sh")
        assert container._sessions is not None
        container._sessions.drop()
        yield container


def _memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# Each kind of user meets each way, and a third of the attacks.
ATTACKS = [
    "printf '%s>7\\n%s-abc 0\\n' $t $t",
    "printf '%s>7\\n%s-0\\n' $t $t",
    "printf '%s>7\\n%s--1 0\\n' $t $t",
    "printf '%s>7\\n%s-nan inf\\n' $t $t",
    "printf '%s>7\\n%s-99999999999999999999 0\\n' $t $t",
    "printf '%s>7\\n%s-\\n' $t $t",
    "printf '%s>-1\\n' $t",
    "printf '%s>0\\n' $t",
    "printf '%s>999999999999\\n' $t",
    "printf '%s\\377\\n' $t",
    "printf '%s>7\\n%s' $t $t; cat /dev/zero",
    "while :; do printf '%s>7\\n' $t; done",
]
PAIRS = sorted(zip(itertools.cycle(("root", "sudo", "docker")), ATTACKS))


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    "each_engine_user, attack", PAIRS, indirect=["each_engine_user"], scope="module"
)
@pytest.mark.parametrize("is_read", [False, True], ids=["run", "run_async"])
def test_wrong_marks(
    hostile: ContainerExecutor, tmp_path: Path, attack: str, is_read: bool
) -> None:
    (tmp_path / "attack").write_text(attack)
    hostile.copy_to(tmp_path / "attack", "/attack")
    before, began = _memory(), time.monotonic()
    with pytest.raises(EngineError, match="wrong answer"):
        if is_read:
            hostile.run_async("echo begin").wait(30)
        else:
            hostile.run("echo begin", timeout=30)
    assert time.monotonic() - began < 20
    assert _memory() - before < 30 * MIB


def test_shell_with_wrong_exit_codes_is_not_used(own: ContainerExecutor, tmp_path: Path) -> None:
    """yash is not used: its exit code for a death by SIGKILL is 393."""
    (tmp_path / "sh").write_text(HOSTILE.replace("137", "393"))
    (tmp_path / "sh").chmod(0o755)
    own.copy_to(tmp_path / "sh", "/bin/new")
    own.run("mv /bin/new /bin/sh")
    assert own._sessions is not None
    own._sessions.drop()
    running = own.run_async("exit 7")
    assert running.wait(30).exit_code == 7
    assert isinstance(running._process, Exec)


def test_shell_that_refuses_to_kill_gets_no_capabilities(
    own: ContainerExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command is killed from the node, or by a program of ours."""
    (tmp_path / "sh").write_text("#!/bin/busybox ash\n: >/asked\nexit 1\n")
    (tmp_path / "sh").chmod(0o755)
    own.copy_to(tmp_path / "sh", "/bin/new")
    own.run("mv /bin/new /bin/sh")
    assert own._sessions is not None
    own._sessions.drop()
    create, privileged = own.engine.api.exec_create, []

    def watch(*args: Any, **options: Any) -> Any:
        privileged.append(options.get("privileged", False))
        return create(*args, **options)

    monkeypatch.setattr(own.engine.api, "exec_create", watch)
    with pytest.raises(CommandTimeoutError, match="was killed"):
        own.run(["sleep", "1311"], timeout=1)
    assert own.run(["ls", "/asked"]).exit_code == 0
    assert "sleep 1311" not in own.run(["ps", "-o", "args"]).stdout.splitlines()
    assert len(privileged) > 2 and not any(privileged)


# --- forks --------------------------------------------------------------------------------------

FORK = """
import faulthandler, multiprocessing, os, signal, sys, threading
from pathlib import Path
sys.path[:0] = sys.argv[5].split(":")
from tests.support.nodes import BUSYBOX, connect, disconnect
from lisa.util import constants
from lisa_container import ContainerExecutor, ContainerTestConfig
from lisa_container.forks import temporary_folder

folder = Path(sys.argv[4])
constants.RUN_ID, constants.RUN_LOGIC_PATH = "tests", Path("tests/run")
constants.RUN_LOCAL_LOG_PATH, constants.CACHE_PATH = folder / "log", folder / "cache"
constants.RUN_LOCAL_WORKING_PATH = folder / "working"
node = connect(sys.argv[1], sys.argv[2], key=Path(sys.argv[3]))

# The error shows where a process hangs. A forked process inherits the handler, but no alarm.
faulthandler.register(signal.SIGALRM, file=sys.__stderr__, chain=True)
signal.alarm(90)

def fork(child):
    pid = os.fork()
    if not pid:
        signal.alarm(60)
        child()
        sys.exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if sys.version_info >= (3, 9) else 0

def in_thread():
    thread = threading.Thread(target=lambda: fork(lambda: None))
    thread.start()
    thread.join()

def work():
    signal.alarm(60)
    # A forked process may use the container, too, over its own connection.
    assert container.run("echo child").stdout == "child"

with temporary_folder("test_") as kept, ContainerExecutor(
    node, ContainerTestConfig(image=BUSYBOX)
) as container:
    container.run("true")
    for job in (
        lambda: fork(lambda: None),
        lambda: fork(container.stop),
        lambda: fork(lambda: disconnect(node)),
        in_thread,
        lambda: fork(work),
    ):
        assert not job(), "the child failed"
        assert container.run("echo alive").stdout == "alive"
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
    assert child.exitcode == 0
    assert os.path.isdir(kept)
    assert container.run("echo alive").stdout == "alive"
    assert container.is_running
assert not os.path.isdir(kept)
disconnect(node)
print("whole")
"""


@pytest.mark.sampled(1)
@pytest.mark.parametrize("user", ["root", "sudo", "docker"])
def test_end_of_a_forked_process_is_not_that_of_its_parent(
    machine: SandboxNode, tmp_path: Path, user: str
) -> None:
    names = {"root": "root", "sudo": machine.username, "docker": DOCKER_USER}
    add_user(machine, DOCKER_USER, "docker")
    here = str(Path(__file__).parent.parent)
    words = [machine.address, names[user], str(machine.private_key_file), str(tmp_path), here]
    done = subprocess.run(
        [sys.executable, "-c", FORK, *words], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and "\nwhole" in done.stderr, done.stderr[-3000:]


@pytest.mark.sampled(1)
def test_output_without_end(each_engine_user: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command whose output never ends is killed before it takes the runner's memory."""
    for module in ("container.output", "container.command", "container.main_process"):
        monkeypatch.setattr(f"lisa_container.{module}.MOST_KEPT", 4 << 20)
    with ContainerExecutor(each_engine_user, ContainerTestConfig(image=BUSYBOX)) as container:
        for command in ("yes", "yes >&2", ["yes"]):
            with pytest.raises(OutputLimitError, match="wrote more than 4 MiB"):
                container.run(command, timeout=60)
        assert container.run("pgrep yes || echo none").stdout == "none"
        assert len(container.run("yes | head -c 3000000").stdout_bytes) == 3000000
    docker = each_engine_user.tools[DockerAdvanced]
    with pytest.raises(OutputLimitError, match="wrote more than 4 MiB"):
        docker.run_in_container(BUSYBOX, "yes", timeout=60)


@pytest.mark.parametrize("tty", [False, True])
def test_log_without_end(
    each_engine_user: Node, monkeypatch: pytest.MonkeyPatch, tty: bool
) -> None:
    """A log that is larger than a result may be is not read into memory."""
    docker = each_engine_user.tools[DockerAdvanced]
    docker.run_in_container(BUSYBOX, "true")
    words = ["sh", "-c", "yes $(printf %01000d 0) | head -n 3000; echo end"]
    api = docker.client.api
    host = api.create_host_config(log_config={"Type": "json-file"})
    id = api.create_container(BUSYBOX, words, tty=tty, host_config=host)["Id"]
    try:
        docker.start(id)
        docker.wait(id, timeout=60)
        newline = "\r\n" if tty else "\n"
        assert docker.logs(id) == f"{'0' * 1000}{newline}" * 3000 + f"end{newline}"
        for module in ("output", "log"):
            monkeypatch.setattr(f"lisa_container.container.{module}.MOST_KEPT", MIB)
        with pytest.raises(OutputLimitError, match="more than 1 MiB.*tail=1000"):
            docker.logs(id)
        assert docker.logs(id, tail=1).strip() == "end"
    finally:
        docker.remove_container(id, force=True)
