"""What the resident shell and we say to each other, with the shells of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from lisa_container.session.protocol import (
    LONGEST_REQUEST,
    SCRIPT,
    Mark,
    Splitter,
    greeting,
    request,
)

TOKEN = "0123456789abcdef"


def pieces(*chunks: bytes) -> list[bytes | Mark]:
    splitter = Splitter(TOKEN, greets=False)
    return [piece for chunk in chunks for piece in splitter.feed(chunk)]


def test_splitter_however_it_is_cut() -> None:
    """Bytes that look like the beginning of a token are the command's, unless a token follows."""
    whole = b"out" + TOKEN[:5].encode() + b"x\n" + TOKEN.encode() + b"-0 0\n" + TOKEN[:3].encode()
    for size in range(1, len(whole) + 1):
        found = pieces(*(whole[i : i + size] for i in range(0, len(whole), size)))
        data = b"".join(piece for piece in found if isinstance(piece, bytes))
        assert data == b"out" + TOKEN[:5].encode() + b"x\n"
        assert [piece for piece in found if isinstance(piece, Mark)] == [Mark("-0 0")]


def test_splitter_keeps_nothing_back_that_is_no_token() -> None:
    assert pieces(b"abc") == [b"abc"]
    assert pieces(b"") == []


@pytest.mark.parametrize("name", ["A.B", "1A", "", "A B", "IFS", "PPID"])
def test_names_a_shell_does_not_take(name: str) -> None:
    assert request(TOKEN, "true", "", {name: "x"}, False) is None


def test_requests_a_shell_does_not_take() -> None:
    assert request(TOKEN, "a\0b", "", {}, False) is None
    assert request(TOKEN, "x" * LONGEST_REQUEST, "", {}, False) is None


class Shell:
    """A resident shell of this machine."""

    def __init__(self, words: list[str]) -> None:
        self.process = subprocess.Popen(
            [*words, "-c", SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            # Tests may run in the background, where a shell has SIGINT ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert self.process.stdin is not None
        self.process.stdin.write(greeting(TOKEN))
        self.splitters = [Splitter(TOKEN, greets=True), Splitter(TOKEN, greets=False)]

    def run(self, *arguments: object) -> tuple[bytes, bytes, list[str]]:
        text = request(TOKEN, *arguments)  # type: ignore[arg-type]
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
                elif piece.text.startswith("+") and marks:
                    self.next_worker = piece.text  # it may have greeted already
                else:
                    marks.append(piece.text)
        return data, marks


@pytest.fixture(params=["dash", "bash", "busybox sh"])
def shell(request: pytest.FixtureRequest) -> Iterator[Shell]:
    running = Shell(request.param.split())
    yield running
    assert running.process.stdin is not None
    running.process.stdin.close()
    running.process.wait(5)  # it ends when nobody feeds it any more


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
        ("set | grep -cE '^(l|s|w|t|p|c|n)='", b"0\n", 1),
        ("echo one\necho 'two\nlines'", b"one\ntwo\nlines\n", 0),
    ],
)
def test_commands(shell: Shell, command: object, out: bytes, code: int) -> None:
    stdout, _, marks = shell.run(command, "", {}, False)
    assert (stdout, marks[-1]) == (out, f"-{code} 0")
    assert shell.run("echo again", "", {}, False)[0] == b"again\n"


def test_surroundings(shell: Shell) -> None:
    value = 'x\'y "z"\n$A \\ é'
    out, _, _ = shell.run('printf %s "$VALUE"; pwd', "/tmp", {"VALUE": value}, False)
    assert out == value.encode() + b"/tmp\n"
    out, _, marks = shell.run("echo never", "/no/such/folder", {}, False)
    assert out == b"" and "!" in marks
    assert shell.run('echo "[$VALUE]" "[$OLDPWD]"', "", {}, False)[0] == b"[] []\n"


def test_processes_left_behind(shell: Shell) -> None:
    assert shell.run("sleep 3 >/dev/null 2>&1 &", "", {}, False)[2][-1] == "-0 1"


def test_token_is_nowhere_to_be_read(shell: Shell) -> None:
    """A command that prints all it finds in /proc must not end itself by that."""
    out, _, marks = shell.run("cat /proc/$PPID/cmdline /proc/$PPID/environ; env", "", {}, False)
    assert len(out) > 100 and TOKEN.encode() not in out
    assert marks[-1] == "-0 0"


def test_no_further_descriptors(shell: Shell) -> None:
    """The shell's own descriptors do not reach a command (ls itself opens one, for the folder)."""
    out, _, _ = shell.run(["ls", "/proc/self/fd"], "", {}, False)
    assert out.split() == [b"0", b"1", b"2", b"3"]


def test_own_process_group(shell: Shell) -> None:
    """The command leads a group and session of its own: fields 5 and 6 of proc(5)'s stat."""
    out, _, marks = shell.run("cut -d' ' -f5,6 /proc/$$/stat; echo $$", "", {}, False)
    group, session, pid = out.split()
    assert group == session == pid
    assert marks[-1] == "-0 0"
