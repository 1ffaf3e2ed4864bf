"""Output, help and completion of the command line, on a terminal and elsewhere."""

from __future__ import annotations

import argparse
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lisa_container.cli.arguments import make_parser

COMMAND = [sys.executable, "-m", "lisa_container.cli"]
LONG = "x" * 30 + "\x1b]0;owned\x07" + "y" * 150 + "[red]z[/red]"
TABLE = f"""
import sys
sys.path[:0] = {sys.path!r}
from lisa_container.cli.output import say_table, show_activity
with show_activity("a job"):
    say_table(("name", "state"), [({LONG!r}, "failed"), ("short", "passed")])
"""


def on_terminal(words: list[str], columns: int = 60) -> str:
    """Run a program with a terminal as its standard output and error; return its output."""
    parent, child = pty.openpty()

    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns)}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(words, stdin=child, stdout=child, stderr=child, env=environment)
    os.close(child)
    found = b""
    try:
        while data := os.read(parent, 65536):
            found += data
    except OSError:  # the last writer has gone
        pass
    os.close(parent)
    assert process.wait(60) == 0, found
    return found.decode()


def test_table_on_a_terminal() -> None:
    """A table on a terminal folds wide cells, and escapes control characters and markup."""
    text = on_terminal([sys.executable, "-c", TABLE])
    assert "\x1b[" in text
    assert "\x1b]" not in text
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    cells = "".join(plain.split())
    assert r"\x1b]0;owned\x07" in cells.replace("failed", "")
    assert "y" * 150 + "[red]z[/red]" in cells.replace("failed", "")


def test_table_elsewhere() -> None:
    """A table in a file has one line per row, without escape sequences."""
    done = subprocess.run([sys.executable, "-c", TABLE], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert "y" * 150 + "[red]z[/red]  failed" in lines[1]


def test_help() -> None:
    """The help has colours on a terminal only."""
    done = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    text = on_terminal([*COMMAND, "--help"])
    assert "\x1b[" in text
    for word in ("ps", "reap", "history", "plan", "completion"):
        assert word in done.stdout and word in text


def test_every_help_says_something() -> None:
    """Each command has a description, and each option more than a word or two."""

    def check(parser: argparse.ArgumentParser) -> None:
        assert parser.description, parser.prog
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for each in action.choices.values():
                    check(each)
            else:
                assert action.help and len(action.help.split()) > 2, (parser.prog, action)

    check(make_parser())


def test_help_is_quick() -> None:
    """The help imports no package that takes long to import."""
    look = """
import sys
from lisa_container.cli import main
try:
    main(["--help"])
finally:
    print("slow:", *{"lisa", "docker", "paramiko", "requests", "rich", "yaml"} & {*sys.modules})
"""
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "slow:"


def test_completion(tmp_path: Path) -> None:
    """Bash completes commands, questions and options."""
    done = subprocess.run([*COMMAND, "completion", "bash"], capture_output=True, check=True)
    script = tmp_path / "script"
    script.write_bytes(done.stdout)
    for words, found in (
        (("h",), {"history"}),
        (("history", "r"), {"runs", "run"}),
        (("ps", "--id"), {"--identity"}),
        (("completion", ""), {"bash", "zsh", "tcsh"}),
    ):
        line = " ".join(f"'{word}'" for word in ("lisa-container", *words))
        ask = (
            f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; "
            "_shtab_lisa_container; printf '%s\\n' \"${COMPREPLY[@]}\""
        )
        reply = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
        assert found <= {x.strip() for x in reply.stdout.split()}, (words, reply)


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_completion_of_other_shells(shell: str) -> None:
    done = subprocess.run([*COMMAND, "completion", shell], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "history" in done.stdout and "\x1b" not in done.stdout
