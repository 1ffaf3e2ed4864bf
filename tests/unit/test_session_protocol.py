"""Protocol of the resident shell, with the shells of this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lisa_container.container.request import CommandRequest
from lisa_container.container.session.protocol import (
    LONGEST_REQUEST,
    LONGEST_STDIN,
    Mark,
    ProtocolError,
    Splitter,
    _programs,
    encode_request,
    greeting,
    new_token,
    probe,
)
from lisa_container.container.session.script import SHELL, SHELL_ENVIRONMENT
from tests.support.processes import runs

NUMBER = 1234567890
TOKEN = new_token(NUMBER)


def pieces(*chunks: bytes) -> list[bytes | Mark]:
    splitter = Splitter(TOKEN)
    return [piece for chunk in chunks for piece in splitter.feed(chunk)]


def test_splitter_however_it_is_cut() -> None:
    """Bytes that begin like a token belong to the output unless a token follows."""
    token = TOKEN.encode()
    output = b"out" + token[:5] + b"x\n" + token[:1] * 2 + b"y" + token[:-1]
    whole = output + token + b"-0 0\n" + token[:3]
    for size in range(1, len(whole) + 1):
        found = pieces(*(whole[i : i + size] for i in range(0, len(whole), size)))
        assert b"".join(piece for piece in found if isinstance(piece, bytes)) == output
        assert [piece for piece in found if isinstance(piece, Mark)] == [Mark("-0 0")]


def test_splitter_holds_back_tokens_only() -> None:
    assert pieces(b"abc") == [b"abc"]
    assert pieces(b"") == []
    assert pieces(b"a\x1ebc") == [b"a\x1ebc"]


def test_mark_without_an_end() -> None:
    with pytest.raises(ProtocolError):
        pieces(b"out" + TOKEN.encode() + b"x" * 100)
    splitter = Splitter(TOKEN)
    assert [*splitter.feed(TOKEN.encode() + b"x" * 60)] == []
    with pytest.raises(ProtocolError):
        [*splitter.feed(b"x" * 4)]


@pytest.mark.parametrize(
    "text",
    [
        "-abc 0",
        "-",
        "-1",
        "-256 0",
        "--1 0",
        "-0 3",
        "-0 0 x",
        "-0 0 0 0",
        "-1e2 0",
        "-\u0661 0",
        "-0 0\n",
    ],
)
def test_ends_that_are_none(text: str) -> None:
    with pytest.raises(ProtocolError):
        Mark(text).end()


@pytest.mark.parametrize(
    "text", [">", ">0", ">-1", ">5 x", ">1.0", ">nan", ">12345678", "> 5", ">5\n"]
)
def test_pids_that_are_none(text: str) -> None:
    with pytest.raises(ProtocolError):
        Mark(text).pid()


@pytest.mark.parametrize(
    ("text", "kills"), [(">5", None), (">5 0", 0), ("-0 0", None), ("-137 0 12", 12), ("?", None)]
)
def test_kills_at_the_memory_limit(text: str, kills: int | None) -> None:
    assert Mark(text).kills() == kills


@pytest.mark.parametrize(
    ("text", "programs"),
    [
        ("true", []),
        ("echo a 'b; c' \"d\" >&2; exit 3", []),
        ("ls -l /x 2>/dev/null | wc -l", ["ls", "wc"]),
        ("/bin/true && ./x || y 2>&1", ["./x", "/bin/true", "y"]),
        ("exit x", None),
        ("break; echo x", None),
        ("echo x \\", None),
        ("echo $LINENO", None),
        ("A=b c", None),
        ("echo *", None),
        ("echo x >/y", None),
        ("echo x &", None),
        ("echo 'x", None),
        ("ls\nls", None),
        ("", None),
    ],
)
def test_texts_that_cannot_tell_how_they_run(text: str, programs: list[str] | None) -> None:
    assert _programs(text) == programs


@pytest.mark.parametrize(
    "name",
    ["A.B", "1A", "", "A B", "IFS", "PPID", "OPTIND", "SHLVL", "OLDPWD", "PWD", "discovery.type"],
)
def test_names_a_shell_does_not_take(name: str) -> None:
    assert encode_request(TOKEN, CommandRequest("true", environment={name: "x"})) is None


def test_requests_a_shell_does_not_take() -> None:
    assert encode_request(TOKEN, CommandRequest("a\0b")) is None
    assert encode_request(TOKEN, CommandRequest("x" * (LONGEST_REQUEST + 1))) is None
    assert encode_request(TOKEN, CommandRequest("cat", stdin=b"x" * LONGEST_STDIN)) is not None
    assert encode_request(TOKEN, CommandRequest("cat", stdin=b"x" * (LONGEST_STDIN + 1))) is None


class Shell:
    """Resident shell of this machine."""

    def __init__(self, folder: Path, program: str, is_awaited: bool = True) -> None:
        self.is_awaited = is_awaited
        found = shutil.which(program)
        assert found is not None
        (folder / "sh").symlink_to(found)
        self.process = subprocess.Popen(
            SHELL,
            env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", **SHELL_ENVIRONMENT},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(greeting(TOKEN, NUMBER))
        self.splitters = [Splitter(TOKEN), Splitter(TOKEN)]

    def run(self, command: object, **options: object) -> tuple[bytes, bytes, list[str]]:
        options.setdefault("is_awaited", self.is_awaited)
        text = encode_request(TOKEN, CommandRequest(command, **options))  # type: ignore[arg-type]
        assert text is not None and self.process.stdin is not None
        self.process.stdin.write(text)
        out, marks = self._until_end(self.process.stdout, self.splitters[0])
        err, _ = self._until_end(self.process.stderr, self.splitters[1])
        return out, err, marks

    def _until_end(self, pipe: object, splitter: Splitter) -> tuple[bytes, list[str]]:
        data, marks = b"", []
        while not any(mark.startswith("-") for mark in marks):
            for piece in splitter.feed(os.read(pipe.fileno(), 65536)):  # type: ignore[attr-defined]
                if isinstance(piece, bytes):
                    data += piece
                else:
                    marks.append(piece.text)
        return data, marks

    def worker(self, command: object = "true", **options: object) -> str:
        """Return the worker's process id after a command."""
        return next(mark for mark in self.run(command, **options)[2] if mark[0] == ">")


SHELLS = ["dash", "bash", "busybox"]


@pytest.fixture(params=[(name, way) for name in SHELLS for way in ("child", "worker")], ids=str)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    """Start a shell: its commands are children of the worker, or the worker runs them itself."""
    name, way = request.param
    running = Shell(tmp_path, name, is_awaited=way != "worker")
    yield running
    assert running.process.stdin is not None
    running.process.stdin.close()
    running.process.wait(5)  # it ends at the end of its stdin


def test_nothing_stays_after_a_signal_to_all_without_a_runner(shell: Shell) -> None:
    shell.run("true")
    deadline = time.monotonic() + 5
    while len(processes := _descendants(shell.process.pid)) < 2:
        assert time.monotonic() < deadline
    for pid in processes:
        os.kill(pid, signal.SIGTERM)
    shell.process.wait(5)
    for pipe in (shell.process.stdin, shell.process.stdout, shell.process.stderr):
        assert pipe is not None
        pipe.close()
    deadline = time.monotonic() + 5
    while any(runs(pid) for pid in processes):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in _descendants(int(child)))]


@pytest.mark.parametrize(
    ("command", "out", "code"),
    [
        ("echo hi; exit 3", b"hi\n", 3),
        (
            ["printf", "%s|", "a b", "it's", '"', "$HOME", "\\", "\n"],
            b"a b|it's|\"|$HOME|\\|\n|",
            0,
        ),
        ("printf no-newline", b"no-newline", 0),
        ("cat", b"", 0),
        ("kill -KILL $$", b"", 137),
        ("kill -INT $$", b"", 130),
        (["no_such_program"], b"", 127),
        (["/etc/passwd"], b"", 126),
        ("trap 'echo caught' TERM; kill -TERM $$; exit 4", b"caught\n", 4),
        ("echo $# $0", b"0 sh\n", 0),
        ("set | grep -cE '^__'", b"0\n", 1),
        ("echo one\necho 'two\nlines'", b"one\ntwo\nlines\n", 0),
    ],
)
def test_commands(shell: Shell, command: object, out: bytes, code: int) -> None:
    stdout, _, marks = shell.run(command)
    assert (stdout, marks[-1]) == (out, f"-{code} 0")
    assert shell.run("echo again")[0] == b"again\n"


def test_surroundings(shell: Shell) -> None:
    value = 'x\'y "z"\n$A \\ é'
    out, _, _ = shell.run('printf %s "$VALUE"; pwd', cwd="/tmp", environment={"VALUE": value})
    assert out == value.encode() + b"/tmp\n"
    out, _, marks = shell.run("echo never", cwd="/no/such/folder")
    assert out == b"" and "!" in marks
    assert shell.run('echo "[$VALUE]" "[$OLDPWD]"')[0] == b"[] []\n"


def test_folder_behind_a_link(shell: Shell, tmp_path: Path) -> None:
    """A linked working directory is entered by its real name, as by the engine."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    out, _, _ = shell.run("pwd", cwd=str(tmp_path / "link"))
    assert out == os.fsencode(f"{tmp_path.resolve()}/real\n")


def test_processes_left_behind(shell: Shell) -> None:
    assert shell.run("sleep 3 >/dev/null 2>&1 &")[2][-1] == "-0 1"


def test_token_is_nowhere_to_be_read(shell: Shell) -> None:
    """A command finds no token in /proc, so it cannot forge its own end."""
    shell.run("true")
    out, _, marks = shell.run("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null; env")
    assert b"lisa_container_worker" in out
    # A token in the output would be taken for one more mark.
    assert [mark[0] for mark in marks] == [">", "-"]
    assert b"lisa_container_" not in shell.run("env")[0]


def test_no_further_descriptors(shell: Shell) -> None:
    """A command gets no descriptors of the shell; `ls` itself opens one for the folder."""
    out, _, _ = shell.run(["ls", "/proc/self/fd"])
    assert out.split() == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize("command", ["sleep 1 &", "(sleep 1 &)", "sh -c 'sleep 1 & sleep 0.1'"])
def test_no_two_commands_share_a_group(shell: Shell, command: str) -> None:
    before = shell.worker()
    _, _, marks = shell.run(command.replace("&", ">/dev/null 2>&1 &"))
    assert marks[-1] == "-0 1"
    assert shell.worker() not in (before, marks[0])


def test_many_processes(shell: Shell) -> None:
    """A worker copes with more processes than it checks one by one, and with other users'."""
    loop = "i=0; while [ $i -lt 150 ]; do (exit); i=$((i + 1)); done"
    assert shell.run(loop)[2][-1] == "-0 0"
    with subprocess.Popen(["sh", "-c", "while :; do sleep 0.001; done"]) as other:
        for _ in range(20):
            assert shell.run("ls / >/dev/null; exit 5")[2][-1] == "-5 0"
        other.kill()


@pytest.mark.parametrize("name", ["HUP", "INT", "USR1", "PIPE", "ALRM", "TERM", "KILL"])
def test_signal_to_the_own_group(shell: Shell, name: str) -> None:
    number = signal.Signals[f"SIG{name}"]
    _, _, marks = shell.run(["sh", "-c", f"kill -{name} 0; sleep 5", "x"])
    assert marks[-1].startswith(f"-{128 + number} ")
    assert shell.run("echo again")[0] == b"again\n"


def test_handled_signal(shell: Shell) -> None:
    text = "trap 'echo caught; exit 4' TERM; kill -TERM 0; sleep 5"
    out, _, marks = shell.run(["sh", "-c", text, "x"])
    assert (out, marks[-1]) == (b"caught\n", "-4 0")


def test_one_way_after_the_other(shell: Shell) -> None:
    for _ in range(5):
        for is_awaited in (False, True, True):
            for command in ("echo $((1 + 1))", ["echo", "2"]):
                assert shell.run(command, is_awaited=is_awaited)[0] == b"2\n"


@pytest.mark.parametrize(
    "command",
    [
        ["setsid", "true"],
        ["nice", "/usr/bin/setsid", "true"],
        "echo $$",
        "kill ${$}",
        ". ./x",
        "if . x; then",
        "a && source x",
        "eval x",
        "(trap - INT)",
        "setsid true",
    ],
)
def test_command_that_would_notice_leads_its_group(command: object) -> None:
    text = encode_request(TOKEN, CommandRequest(command, is_awaited=True))  # type: ignore[arg-type]
    assert text is not None and text.startswith(f"{TOKEN}\n".encode())


@pytest.mark.parametrize(
    "command", ["true", "ls .", "find . -name x; ls", "echo $1 $HOME", "./eval", ["sh", "-c", "$$"]]
)
def test_command_that_need_not_lead(command: object) -> None:
    text = encode_request(TOKEN, CommandRequest(command, is_awaited=True))  # type: ignore[arg-type]
    assert text is not None
    assert text.startswith(f"{TOKEN}+\n".encode()) is (command != ["sh", "-c", "$$"])


def test_own_process_group(shell: Shell) -> None:
    """A command leads its own process group and session: fields 5 and 6 of proc(5)'s stat."""
    out, _, marks = shell.run("cut -d' ' -f5,6 /proc/$$/stat; echo $$")
    group, session, pid = out.split()
    assert group == session == pid
    assert marks[-1] == "-0 0"


@pytest.mark.parametrize("data", [bytes(range(256)), b"%s\\n'-", b"no newline", b"\n\n"])
def test_stdin(shell: Shell, data: bytes) -> None:
    assert shell.run(["cat"], stdin=data)[0] == data
    out, _, marks = shell.run('cat; echo "it\'s"; exit 3', stdin=data)
    assert (out, marks[-1]) == (data + b"it's\n", "-3 0")
    assert shell.run(["true"], stdin=data)[2][-1] == "-0 0"  # it need not read it


def test_merged_streams(shell: Shell) -> None:
    out, err, _ = shell.run("echo a; echo b >&2; echo c", merge_stderr=True)
    assert (out, err) == (b"a\nb\nc\n", b"")


def test_probe(shell: Shell) -> None:
    assert shell.process.stdin is not None and shell.process.stdout is not None
    for _ in range(2):
        shell.process.stdin.write(probe(TOKEN))
        assert os.read(shell.process.stdout.fileno(), 100) == f"{TOKEN}?\n".encode()
    assert shell.run("echo hi")[0] == b"hi\n"
