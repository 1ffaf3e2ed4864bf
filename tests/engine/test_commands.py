"""Commands in containers: their input, output and end."""

from __future__ import annotations

import io
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable

import pytest
from func_timeout import FunctionTimedOut, func_timeout

from lisa_container import (
    CommandNotStartedError,
    CommandTimeoutError,
    ContainerDiedError,
    ContainerExecutor,
)
from lisa_container.container.session.pool import _IDLE as IDLE_SHELLS
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.boxes import processes
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.boxes"]

Fresh = Callable[..., ContainerExecutor]


def in_box(container: ContainerExecutor, words: str) -> list[str]:
    """Return the command lines of a container's processes that contain some words."""
    lines = container.run(["ps", "-o", "args"]).stdout.splitlines()
    return [line for line in lines if words in line]


@pytest.fixture(params=["resident shell", "engine"])
def way(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return options of a command: stdin makes the engine start it, not the resident shell."""
    return {} if request.param == "resident shell" else {"stdin": b""}


# --- what goes in -------------------------------------------------------------------------------


def test_streams_and_exit_code_are_apart(box: ContainerExecutor) -> None:
    result = box.run("echo out; echo err >&2; exit 3")
    assert (result.stdout, result.stderr, result.exit_code) == ("out", "err", 3)


@pytest.mark.parametrize(
    "word", ["a b", "$HOME", "*", "'", '"', "\\", "line\nline", "ü€𝄞", "", "-n"]
)
def test_words_arrive_as_they_are(box: ContainerExecutor, word: str, way: dict[str, Any]) -> None:
    result = box.run(["printf", "[%s]", word], **way)
    assert result.stdout_bytes == f"[{word}]".encode()


def test_string_is_for_the_shell(box: ContainerExecutor) -> None:
    assert box.run("for x in a b; do echo $x; done | tr a-z A-Z").stdout.split() == ["A", "B"]


def test_paths_are_words(box: ContainerExecutor) -> None:
    assert box.run(["ls", Path("/etc/passwd")]).stdout == "/etc/passwd"


def test_working_directory(box: ContainerExecutor, way: dict[str, Any]) -> None:
    assert box.run("pwd", **way).stdout == "/"
    assert box.run("pwd", cwd="/etc", **way).stdout == "/etc"


@pytest.mark.parametrize("cwd", ["/not/there", "/etc/passwd"])
def test_invalid_working_directory(box: ContainerExecutor, cwd: str, way: dict[str, Any]) -> None:
    with pytest.raises(CommandNotStartedError, match=rf"'true'.*'{cwd}'") as caught:
        box.run(["true"], cwd=cwd, **way)
    assert box.name in str(caught.value)


VALUES = {
    "LINES": "a\nb\n",
    "QUOTES": """'"`$(false)\\""",
    "ÜNI": "€𝄞",
    "EMPTY": "",
    "EQUAL": "a=b",
}


def test_variables_arrive_as_they_are(box: ContainerExecutor, way: dict[str, Any]) -> None:
    result = box.run(["cat", "/proc/self/environ"], update_envs=VALUES, **way)
    found = dict(x.split("=", 1) for x in result.stdout_bytes.decode().rstrip("\0").split("\0"))
    assert {name: found.get(name) for name in VALUES} == VALUES
    assert found["PATH"] == "/bin"


def test_variables_are_of_one_command(box: ContainerExecutor) -> None:
    assert box.run("echo $ONCE", update_envs={"ONCE": "1"}).stdout == "1"
    assert box.run("echo $ONCE").stdout == ""


@pytest.mark.parametrize(
    ("user", "ids"), [("", "0 0"), ("nobody", "65534 65534"), ("7", "7 0"), ("7:8", "7 8")]
)
def test_user(box: ContainerExecutor, user: str, ids: str, way: dict[str, Any]) -> None:
    assert box.run("echo $(id -u) $(id -g)", user=user, **way).stdout == ids


def test_user_unknown_to_the_image(box: ContainerExecutor, way: dict[str, Any]) -> None:
    with pytest.raises(CommandNotStartedError, match="does not know the user 'ghost'"):
        box.run(["id"], user="ghost", **way)


def test_stdin_is_empty_by_default(box: ContainerExecutor) -> None:
    assert box.run(["cat"], timeout=20).stdout_bytes == b""


@pytest.mark.parametrize(
    ("stdin", "arrives"), [(b"\x00\xff\n", b"\x00\xff\n"), ("ü\r\n", "ü\r\n".encode()), (b"", b"")]
)
def test_stdin(box: ContainerExecutor, stdin: Any, arrives: bytes) -> None:
    assert box.run(["cat"], stdin=stdin, timeout=20).stdout_bytes == arrives


def test_stdin_of_fifty_mebibytes(box: ContainerExecutor, tmp_path: Path) -> None:
    path = tmp_path / "big"
    piece = os.urandom(1 << 20)
    path.write_bytes(piece * 50)
    with path.open("rb") as file:
        result = box.run("wc -c; ", stdin=file)
    assert int(result.stdout) == 50 << 20


@pytest.mark.parametrize("command", [["true"], ["head", "-c", "3"], "exec <&-; sleep 0.2"])
def test_unread_stdin(box: ContainerExecutor, command: Any) -> None:
    started = time.monotonic()
    assert box.run(command, stdin=b"abc" + bytes(8 << 20), timeout=20).exit_code == 0
    assert time.monotonic() - started < 10


def test_stdin_that_cannot_be_read(box: ContainerExecutor) -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError("the file broke")

    with pytest.raises(OSError, match="the file broke"):
        box.run("cat; sleep 100", stdin=Broken(), timeout=30)
    eventually(lambda: not in_box(box, "sleep 100"))


def test_stdin_as_text(box: ContainerExecutor) -> None:
    with pytest.raises(TypeError):
        box.run(["cat"], stdin=io.StringIO("text"), timeout=30)  # type: ignore[arg-type]


def test_interactive(box: ContainerExecutor) -> None:
    lines: list[bytes] = []
    running = box.run_async(
        "while read x; do echo got $x; done", interactive=True, on_stdout=lines.append
    )
    running.write(b"one\n")
    eventually(lambda: b"".join(lines) == b"got one\n")
    assert running.running
    running.write(b"two\n")
    running.close_stdin()
    assert running.wait(20).stdout.split("\n") == ["got one", "got two"]
    assert not running.running


# --- what comes out -----------------------------------------------------------------------------


def test_output_is_exact(box: ContainerExecutor) -> None:
    every = bytes(range(256)) + b"\0\0 no newline at the end"
    result = box.run("cat >/tmp/in; cat /tmp/in; cat /tmp/in >&2; rm /tmp/in", stdin=every)
    assert (result.stdout_bytes, result.stderr_bytes) == (every, every)


def test_output_of_twenty_mebibytes(box: ContainerExecutor, way: dict[str, Any]) -> None:
    count = 20 << 20
    result = box.run(
        f"yes 0123456789abcde | head -c {count}; yes fedcba9876543210 | head -c {count} >&2", **way
    )
    assert result.stdout_bytes == b"0123456789abcde\n" * (count // 16)
    assert len(result.stderr_bytes) == count
    assert set(result.stderr_bytes) == set(b"fedcba9876543210\n")


def test_text_is_stripped_bytes_are_not(box: ContainerExecutor) -> None:
    result = box.run("printf '\\n x \\033[31mred\\033[0m \\n\\n'")
    assert result.stdout == "x red"
    assert result.stdout_bytes == b"\n x \033[31mred\033[0m \n\n"


def test_callbacks_while_it_runs(box: ContainerExecutor, way: dict[str, Any]) -> None:
    seen: list[tuple[float, str, bytes]] = []
    started = time.monotonic()
    result = box.run(
        "echo a; sleep 0.4; echo b >&2; sleep 0.4",
        on_stdout=lambda data: seen.append((time.monotonic() - started, "out", data)),
        on_stderr=lambda data: seen.append((time.monotonic() - started, "err", data)),
        **way,
    )
    ended = time.monotonic() - started
    assert [x[1:] for x in seen] == [("out", b"a\n"), ("err", b"b\n")]
    assert seen[1][0] - seen[0][0] > 0.1
    assert ended - seen[1][0] > 0.1
    assert (result.stdout, result.stderr) == ("a", "b")


def test_callback_that_fails(box: ContainerExecutor, way: dict[str, Any]) -> None:
    def fail(data: bytes) -> None:
        raise KeyError("of the callback")

    with pytest.raises(KeyError, match="of the callback"):
        box.run("echo; sleep 101", on_stdout=fail, timeout=30, **way)
    eventually(lambda: not in_box(box, "sleep 101"))


# --- how it ends --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "exit_code", "says"),
    [
        (["true"], 0, ""),
        (["false"], 1, ""),
        ("exit 255", 255, ""),
        (["not-there"], 127, "not-there"),
        (["/not/there"], 127, "/not/there"),
        ("not-there", 127, "not-there"),
        (["/etc/passwd"], 126, "/etc/passwd"),
        (["/etc"], 126, "/etc"),
        ("/etc/passwd", 126, "/etc/passwd"),
        ("kill -9 $$", 137, ""),
        ("kill -15 $$", 143, ""),
        ("kill -11 $$", 139, ""),
        (["sh", "-c", "kill -6 $$"], 134, ""),
    ],
)
def test_exit_code(
    box: ContainerExecutor, command: Any, exit_code: int, says: str, way: dict[str, Any]
) -> None:
    result = box.run(command, **way)
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert says in result.stderr
    assert not result.oom_killed


def test_command_prints_a_message_of_the_engine(
    box: ContainerExecutor, way: dict[str, Any]
) -> None:
    """A command that prints the engine's own error message counts as started."""
    words = 'OCI runtime exec failed: exec: "x": executable file not found'
    result = box.run(f"echo '{words}'; echo more; exit 126", **way)
    assert (result.stdout, result.exit_code) == (f"{words}\nmore", 126)
    assert box.run(["echo", words], **way).stdout == words


def test_expected_exit_code(box: ContainerExecutor) -> None:
    assert box.run("exit 3", expected_exit_code=3).exit_code == 3
    with pytest.raises(AssertionError) as caught:
        box.run(
            "echo o; echo e >&2; exit 4",
            expected_exit_code=3,
            expected_exit_code_failure_message="Ouch",
        )
    for part in ("Ouch", "exit 4", "stdout:\no", "stderr:\ne"):
        assert part in str(caught.value)


def test_wait_again(box: ContainerExecutor) -> None:
    running = box.run_async("echo once")
    first = running.wait()
    assert running.wait() is first
    assert running.pid == 0
    running.signal(15)
    running.kill()


# --- timeouts -----------------------------------------------------------------------------------

# Children and grandchildren, in groups of their own too, none of which SIGTERM ends.
STUBBORN = """
trap '' TERM HUP INT
echo partly done; echo partly wrong >&2
sleep 1234.1 &
(sleep 1234.2 & exec sleep 1234.3) &
sh -c "trap '' TERM; sleep 1234.4; true" &
sleep 1234.5
"""


def test_timeout_ends_the_whole_group(box: ContainerExecutor, way: dict[str, Any]) -> None:
    started = time.monotonic()
    with pytest.raises(CommandTimeoutError) as caught:
        box.run(STUBBORN, timeout=0.7, **way)
    assert time.monotonic() - started < 6
    assert (caught.value.stdout, caught.value.stderr) == ("partly done\n", "partly wrong\n")
    for part in ("0.7 seconds", "was killed", "partly done", "partly wrong"):
        assert part in str(caught.value)
    assert isinstance(caught.value, TimeoutError)
    assert in_box(box, "1234.") == []
    assert box.run(["echo", "usable"], **way).stdout == "usable"


def test_timeout_of_another_user(box: ContainerExecutor, way: dict[str, Any]) -> None:
    with pytest.raises(CommandTimeoutError):
        box.run("sleep 1235 & sleep 1235", user="nobody", timeout=1, **way)
    assert in_box(box, "1235") == []


def test_timeout_where_root_lacks_capabilities(fresh: Fresh, way: dict[str, Any]) -> None:
    """If a container's root may not signal other users, the node's root ends the command."""
    container = fresh(cap_drop=["ALL"], user="1000")
    with pytest.raises(CommandTimeoutError, match="was killed"):
        container.run("sleep 1235.5 & sleep 1235.5", timeout=1, **way)
    assert in_box(container, "1235.5") == []


def test_timeout_does_not_touch_others(box: ContainerExecutor, way: dict[str, Any]) -> None:
    other = box.run_async("sleep 1236", **way)
    with pytest.raises(CommandTimeoutError):
        box.run("sleep 1237", timeout=1, **way)
    assert in_box(box, "1237") == []
    assert in_box(box, "1236") != []
    other.kill()
    assert other.wait(5).exit_code == 137


def test_timeout_without_a_shell(fresh: Fresh, no_shell: str, machine: SandboxNode) -> None:
    container = fresh(image=no_shell)
    with pytest.raises(CommandTimeoutError, match="was killed"):
        container.run(["xargs", "-n1", "-P3", "sleep"], stdin="1238 1238 1238", timeout=1)
    assert processes(machine, "1238") == []
    assert container.run(["cat", "/proc/self/comm"]).stdout == "cat"
    words = ["xargs", "-n1", "-P3", "setsid", "sleep"]
    with pytest.raises(CommandTimeoutError, match="was killed"):
        container.run(words, stdin="1238 1238 1238", timeout=1)
    assert processes(machine, "1238") == []


@pytest.mark.parametrize("way", ["variable", "docker", "stdin"])
def test_timeout_of_an_exec(fresh: Fresh, way: str) -> None:
    """A timeout kills a detached descendant also if the engine has started the command."""
    container = fresh(environment={"a.b": "c"} if way == "variable" else {})
    command = "(setsid sleep 1238 >/dev/null 2>&1 &); sleep 1238"
    with pytest.raises(CommandTimeoutError, match="was killed"):
        if way == "docker":
            container.docker.exec_in_container(container.name, command, timeout=1)
        else:
            container.run(command, stdin=bytes(5000) if way == "stdin" else None, timeout=1)
    assert in_box(container, "sleep 1238") == []


def test_many_timeouts_at_once(box: ContainerExecutor) -> None:
    """More commands at the same time than sshd has sessions are killed at their timeouts."""

    def run(number: int) -> None:
        with pytest.raises(CommandTimeoutError, match="was killed"):
            box.run(f"sleep 1239 & sleep 1239; echo {number}", timeout=6)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(run, range(12)))
    assert in_box(box, "1239") == []


def test_background_processes_are_not_waited_for(
    box: ContainerExecutor, way: dict[str, Any]
) -> None:
    """A command ends without a wait for processes that hold its output."""
    started = time.monotonic()
    result = box.run("sleep 1240 & echo started", timeout=1, **way)
    assert (result.stdout, result.exit_code) == ("started", 0)
    assert time.monotonic() - started < 5
    assert len(in_box(box, "1240")) == 1
    box.run("kill $(ps -o pid,args | awk '$2 == \"sleep\" && $3 == 1240 {print $1}')", **way)


@pytest.mark.alone
def test_background_processes_that_write_elsewhere_cost_nothing(
    box: ContainerExecutor, way: dict[str, Any]
) -> None:
    box.run(["true"], **way)
    started = time.monotonic()
    box.run("sleep 2 >/dev/null 2>&1 & echo started", **way)
    assert time.monotonic() - started < 1.5


def test_signal(box: ContainerExecutor, way: dict[str, Any]) -> None:
    lines: list[bytes] = []
    running = box.run_async(
        "trap 'echo got it; exit 5' USR1; echo ready; while :; do sleep 0.1; done",
        on_stdout=lines.append,
        **way,
    )
    eventually(lambda: lines)
    assert running.pid > 0
    running.signal(10)
    result = running.wait(10)
    assert (result.stdout, result.exit_code) == ("ready\ngot it", 5)


@pytest.mark.alone
def test_case_timeout_of_lisa(box: ContainerExecutor) -> None:
    """A command ends with its case, whose timeout is an exception in the waiting thread."""
    started = time.monotonic()
    with pytest.raises(FunctionTimedOut):
        func_timeout(1, box.run, ("sleep 1241 & sleep 1241",))
    assert time.monotonic() - started < 3
    eventually(lambda: not in_box(box, "1241"))


# --- the container's own end --------------------------------------------------------------------


@pytest.mark.parametrize("is_fed", [False, True], ids=["session", "exec"])
def test_out_of_memory(fresh: Fresh, is_fed: bool) -> None:
    container = fresh(memory="16m")
    way: dict[str, Any] = {"stdin": io.BytesIO(b"")} if is_fed else {}
    result = container.run("exec tail /dev/zero", **way)
    assert (result.exit_code, result.oom_killed) == (137, True)
    with pytest.raises(AssertionError, match="out of memory"):
        result.assert_exit_code(0)
    assert container.run(["echo", "alive"], **way).stdout == "alive"
    for command, code in (("tail /dev/zero; exit 2", 2), ("tail /dev/zero; true", 0)):
        result = container.run(command, **way)
        assert (result.exit_code, result.oom_killed) == (code, True)
        killed = container.run("kill -9 $$", **way)
        assert (killed.exit_code, killed.oom_killed) == (137, False)


def test_container_dies_of_memory(fresh: Fresh, way: dict[str, Any]) -> None:
    container = fresh(memory="16m")
    # The kernel takes the first process first.
    container.run(
        "for pid in 1 $(pidof sleep); do echo 1000 >/proc/$pid/oom_score_adj; done", **way
    )
    with pytest.raises(ContainerDiedError, match=r"exit code 137.*out of memory"):
        container.run("tail /dev/zero", **way)


@pytest.mark.parametrize(
    ("words", "says"),
    [("kill", "exit code 137"), ("stop -t 0", "exit code"), ("rm -f", "not there")],
)
def test_container_dies_under_a_command(
    fresh: Fresh, machine: SandboxNode, words: str, says: str, way: dict[str, Any]
) -> None:
    container = fresh()
    running = container.run_async("echo begun; sleep 1242", **way)
    eventually(lambda: running._stdout.kept)
    machine.run(f"docker {words} {container.name}")
    started = time.monotonic()
    with pytest.raises(ContainerDiedError, match=says) as caught:
        running.wait(30)
    assert time.monotonic() - started < 10
    assert container.name in str(caught.value)
    with pytest.raises(ContainerDiedError, match=says):
        container.run(["true"], **way)
    assert not container.is_running


def test_paused_container_is_reported(
    fresh: Fresh, machine: SandboxNode, way: dict[str, Any]
) -> None:
    container = fresh()
    running = container.run_async("echo begun; sleep 1243", **way)
    eventually(lambda: running._stdout.kept)
    machine.run(f"docker pause {container.name}")
    try:
        with pytest.raises(CommandTimeoutError, match=r"may still run.*paused") as caught:
            running.wait(0.5)
    finally:
        machine.run(f"docker unpause {container.name}")
    assert not isinstance(caught.value, ContainerDiedError)


def test_command_without_a_shell(fresh: Fresh, no_shell: str) -> None:
    container = fresh(image=no_shell)
    assert container.run(["cat"], stdin=b"fed").stdout == "fed"
    with pytest.raises(CommandNotStartedError, match=r"has no shell.*list of words"):
        container.run("echo")


# --- many at once -------------------------------------------------------------------------------


def test_many_threads(box: ContainerExecutor) -> None:
    """Outputs of 20 commands in each of 32 threads do not mix, and nothing is left open."""

    def many(thread: int) -> list[str]:
        wrong = []
        for number in range(20):
            word = f"{thread}-{number}"
            # Commands with stdin and without take different ways.
            stdin = word if number % 10 == 0 else None
            result = box.run(f"echo {word}; echo {word} >&2; exit {number}", stdin=stdin)
            if (result.stdout, result.stderr, result.exit_code) != (word, word, number):
                wrong.append(f"{word}: {result}")
        return wrong

    box.run(["true"])
    transport = box.engine.dialer.keepalive_target()
    pool_size = box.engine.dialer.pool_size

    def usage() -> tuple[int, int, int]:
        channels = len(transport._channels) if transport is not None else 0
        return threading.active_count(), len([*Path("/proc/self/fd").iterdir()]), channels

    before = usage()
    with ThreadPoolExecutor(32) as pool:
        wrong = [x for found in pool.map(many, range(32)) for x in found]
    assert wrong == []
    # Idle connections and idle shells are kept for later use, up to some number.
    kept = pool_size + IDLE_SHELLS
    eventually(lambda: usage()[0] <= before[0] + IDLE_SHELLS)
    threads, files, channels = usage()
    assert threads <= before[0] + IDLE_SHELLS
    assert files <= before[1] + kept
    assert channels <= before[2] + kept
