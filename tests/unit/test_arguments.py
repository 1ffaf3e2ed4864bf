"""The command line of `lisa-container`."""

from __future__ import annotations

import pytest

from lisa_container.cli.arguments import parse

KEY = ["-i", "key"]


@pytest.mark.parametrize(
    "words",
    [
        ["plan", "run", "a.yml", "me@host", *KEY],
        ["plan", "run", "a.yml", *KEY, "me@host"],
        ["plan", "run", *KEY, "a.yml", "me@host"],
        ["ps", *KEY, "me@host"],
        ["ps", "me@host", *KEY],
        ["reap", "--dry-run", *KEY, "me@host"],
    ],
)
def test_target_anywhere(words: list[str]) -> None:
    arguments = parse(words)
    assert (arguments.target, str(arguments.identity)) == ("me@host", "key")


@pytest.mark.parametrize(
    "words",
    [
        ["plan", "run", "a.yml", "me@host", *KEY, "other"],
        ["plan", "run", "a.yml", *KEY, "one", "two"],
        ["plan", "run", "a.yml", *KEY, "--what"],
        ["history", "run", "last", "more"],
        ["plan", "check", "a.yml", "--what"],
    ],
)
def test_too_much(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(words)
    assert ended.value.code == 2
    assert "unrecognized arguments" in capsys.readouterr().err
