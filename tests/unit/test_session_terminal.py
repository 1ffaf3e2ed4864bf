"""The resident shell on a terminal, with the shells of this machine."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lisa_container.container.request import CommandRequest
from lisa_container.container.session.protocol import (
    Mark,
    Splitter,
    encode_request,
    greeting,
    new_token,
    probe,
)
from lisa_container.container.session.script import SHELL
from lisa_container.container.session.terminal import END, TERMINAL_ENVIRONMENT, check, encode_lines
from tests.support.processes import runs

NUMBER = 1234567890
TOKEN = new_token(NUMBER)


class Shell:
    """Resident shell of this machine that leads a terminal."""

    def __init__(self, folder: Path, program: str) -> None:
        """Start the shell; a fork, because only that gives a terminal to lead."""
        found = shutil.which(program)
        assert found is not None
        (folder / "sh").symlink_to(found)
        search = f"{folder}:{os.environ['PATH']}"
        words = {"HOME": "/root", "PATH": search, "LC_ALL": "C", **TERMINAL_ENVIRONMENT}
        self.pid, self.terminal = pty.fork()
        if not self.pid:
            os.closerange(3, 1024)
            os.execvpe(SHELL[0], SHELL, words)
        self.splitter = Splitter(TOKEN)
        self.send(greeting(TOKEN, NUMBER))

    def send(self, data: bytes) -> None:
        os.write(self.terminal, data)

    def read(self, is_last: Callable[[Mark], bool]) -> tuple[bytes, list[str]]:
        """Return the output and the marks up to one mark."""
        data, marks = b"", []
        deadline = time.monotonic() + 20
        come = b""  # the last call may have left pieces in the splitter
        while True:
            for piece in self.splitter.feed(come):
                if isinstance(piece, bytes):
                    data += piece
                    continue
                marks.append(piece.text)
                if piece.text.startswith(">"):
                    data = b""  # the echo of the request
                if is_last(piece):
                    return data, marks
            assert select.select([self.terminal], [], [], max(0, deadline - time.monotonic()))[0]
            come = os.read(self.terminal, 65536)

    def start(self, command: object, **options: object) -> int:
        """Send a request; return the command's process id."""
        options = {"interactive": True, "terminal": True, **options}
        text = encode_request(TOKEN, CommandRequest(command, **options))  # type: ignore[arg-type]
        assert text is not None
        self.send(text)
        return int(self.read(lambda mark: mark.text.startswith(">"))[1][-1][1:])

    def end(self) -> tuple[bytes, str]:
        data, marks = self.read(lambda mark: mark.text.startswith("-"))
        return data, marks[-1]

    def run(self, command: object, **options: object) -> tuple[bytes, str]:
        self.start(command, **options)
        return self.end()

    def probe(self) -> bool:
        """Return whether the terminal is unchanged."""
        question, echo = check(probe(TOKEN))
        self.send(question)
        return self.read(lambda mark: mark.text == "?")[0].endswith(echo)

    def is_gone(self) -> bool:
        deadline = time.monotonic() + 5
        while not os.waitpid(self.pid, os.WNOHANG)[0]:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


@pytest.fixture(params=["dash", "bash", "busybox"])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    running = Shell(tmp_path, request.param)
    assert running.probe()
    yield running
    os.close(running.terminal)


def test_long_request() -> None:
    """A long request is started by the engine, since the kernel's echo would come too late."""
    request = CommandRequest(["echo", "x" * 5000], interactive=True, terminal=True)
    assert encode_request(TOKEN, request) is None


@pytest.mark.parametrize(
    ("command", "out", "end"),
    [
        ("echo hi; exit 3", b"hi\r\n", "-3 0"),
        ("echo out; echo err >&2", b"out\r\nerr\r\n", "-0 0"),
        (
            ["printf", "%s|", "a b", "it's", "$HOME", "\\", "é"],
            "a b|it's|$HOME|\\|é|".encode(),
            "-0 0",
        ),
        (["printf", "%s", "\x03\x04\x15\x16\x1a\x7f\r"], b"\x03\x04\x15\x16\x1a\x7f\r", "-0 0"),
        (["printf", "%s", "\n\n x\n"], b"\r\n\r\n x\r\n", "-0 0"),
        (["echo", "x" * 3900], b"x" * 3900 + b"\r\n", "-0 0"),
        ("test -t 0 && test -t 1 && test -t 2 && : </dev/tty", b"", "-0 0"),
        ("kill -KILL $$", b"", "-137 0"),
        ("kill -TERM $$", b"", "-143 0"),
        ("kill -HUP 0; sleep 5", b"", "-129 0"),
        ("echo $TERM $# $0", b"vt100 0 sh\r\n", "-0 0"),
        ("echo $USER $LOGNAME $HOME $SHELL", b"root root /root /bin/bash\r\n", "-0 0"),
        ("set | grep -c '^__'", b"0\r\n", "-1 0"),
        ("sleep 9 & exit 3", b"", "-3 1"),
        ("(setsid sleep 1 &)", b"", "-0 1"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_commands(shell: Shell, command: object, out: bytes, end: str) -> None:
    """A command sees what it sees over SSH, and the next one sees no trace of it."""
    assert shell.run(command, environment={"LS_COLORS": ""}) == (out, end)
    assert shell.probe()
    assert shell.run("echo again") == (b"again\r\n", "-0 0")


def test_variables(shell: Shell) -> None:
    out, _ = shell.run(["env"])
    names = {line.partition(b"=")[0].decode() for line in out.splitlines()}
    assert names == {"HOME", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "USER"}


def test_no_further_descriptors(shell: Shell) -> None:
    """A command gets no descriptor of the shell but busybox's terminal; `ls` opens one itself."""
    out, _ = shell.run("ls /proc/self/fd | grep -vx 10")
    assert out.split() == [b"0", b"1", b"2", b"3"]


def test_group(shell: Shell) -> None:
    """The command leads its group, which has the terminal in the foreground (proc(5))."""
    fields = "read -r line </proc/$$/stat; set -- ${line##*) }; echo $3 $6 $4"
    pid = shell.start(fields)
    assert shell.end() == (f"{pid} {pid} {shell.pid}\r\n".encode(), "-0 0")


def test_unknown_program_and_folder(shell: Shell) -> None:
    out, end = shell.run(["no_such_program"])
    assert out.endswith(b"not found\r\n") and end == "-127 0"
    shell.start("true", cwd="/no/such/folder")
    assert shell.read(lambda mark: mark.text.startswith("-"))[1] == ["!", "-126 0"]


def test_input_and_echo(shell: Shell) -> None:
    shell.start(["cat"])
    time.sleep(0.1)  # what came before the command would be echoed, too, but before its mark
    shell.send(b"a line\n\x04")
    assert shell.end() == (b"a line\r\na line\r\n", "-0 0")
    shell.start(["sleep", "20"])
    time.sleep(0.1)
    shell.send(b"\x03")
    assert shell.end() == (b"^C", "-130 0")


def test_children_get_a_hangup(shell: Shell) -> None:
    """Processes in the foreground group end with the command as over SSH, except with nohup."""
    for nohup, lives in ((False, False), (True, True)):
        out, _ = shell.run("sleep 3 & echo $!", nohup=nohup)
        time.sleep(0.2)
        assert runs(int(out)) is lives


def test_nohup_has_no_input(shell: Shell) -> None:
    assert shell.run("cat; test -t 0; echo $?; kill -HUP $$; echo on", nohup=True) == (
        b"1\r\non\r\n",
        "-0 0",
    )


def test_stopped_command(shell: Shell) -> None:
    pid = shell.start("kill -STOP $$; echo on; exit 5")
    time.sleep(0.3)
    assert not select.select([shell.terminal], [], [], 0)[0], "a stopped command has not ended"
    os.kill(pid, signal.SIGCONT)
    assert shell.end() == (b"on\r\n", "-5 0")


@pytest.mark.parametrize("change", ["-echo", "raw", "-icanon", "-onlcr", "-opost", "-echoctl"])
def test_changed_terminal(shell: Shell, change: str) -> None:
    """A probe shows that a command has changed the terminal, if the shell has not restored it."""
    before = shell.run(["stty", "-a"])
    shell.run(["stty", change])
    with contextlib.suppress(OSError):  # the shell took the probe for no request, and ended
        if shell.probe():
            assert shell.run(["stty", "-a"]) == before


@pytest.mark.parametrize("is_raw", [False, True])
def test_end(shell: Shell, is_raw: bool) -> None:
    if is_raw:
        shell.run(["stty", "raw"])
    shell.send(END)
    assert shell.is_gone()


def test_long_lines() -> None:
    """Requests have lines of at most 4095 bytes, the kernel's limit."""
    text = encode_lines(b"x" * 9000 + b"\n" + b"\x04" * 3000)
    assert max(map(len, text.split(b"\n"))) < 4095
    assert encode_lines(b"") == b".\n"
