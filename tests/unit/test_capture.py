"""What of the records is pure logic: names of secrets, sizes of masked pieces, control groups."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from lisa.util.logger import get_logger

from lisa_container.capture.commands import CommandCapture, Journal, Sample, parse
from lisa_container.capture.commands.pieces import fit_to_masked
from lisa_container.capture.container import ContainerCapture
from lisa_container.capture.files import told, write_json
from lisa_container.capture.masking import SECRET_WORDS, Masking, is_secret


@pytest.mark.parametrize(
    "name",
    [
        *("PASSWORD", "db_password", "MYSQL_PWD", "API_KEY", "APIKEY", "GITHUB_TOKEN_FILE"),
        *("TOKENS", "aws-secret", "SSH_AUTH_SOCK", "MyPassword", "CREDENTIALS"),
    ],
)
def test_secret_names(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["PWD", "OLDPWD", "PATH", "KEYBOARD", "PASSING", "AUTHOR", "MODE"])
def test_other_names(name: str) -> None:
    assert not is_secret(name)


def test_page_has_all_words() -> None:
    page = (Path(__file__).parents[2] / "docs" / "capture.md").read_text(encoding="utf-8")
    assert [word for word in SECRET_WORDS if f"`{word}`" not in page] == []


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("TOKEN=abc env", "TOKEN=*** env"),
        ("TOKEN='a b' X=y env", "TOKEN=*** X=y env"),
        ('run --api-key="a b";ls', "run --api-key=***;ls"),
        ("get https://me:pass@host/a?b=c", "get https://***@host/a?b=c"),
        ("a=b && c", "a=b && c"),
        ("the value-known here", "the *** here"),
    ],
)
def test_commands_are_masked(text: str, masked: str) -> None:
    assert Masking({"value-known"}).command(text) == masked


def test_anything_is_masked() -> None:
    content = {"Env": ["API_KEY=abc", "A=b"], "token": "abc", "n": 1, "list": [None, {"x": True}]}
    assert Masking().anything(content) == {
        "Env": ["API_KEY=***", "A=b"],
        "token": "***",
        "n": 1,
        "list": [None, {"x": True}],
    }


def test_bytes_stay_what_they_are() -> None:
    assert Masking({"secret"}).data(b"\xff\0secret\xfe\r\n") == b"\xff\0***\xfe\r\n"


@pytest.mark.parametrize("sizes", [[30], [1] * 30, [5, 20, 5], [3, 9, 9, 9], [12, 18], [10, 20]])
def test_sizes_fit_the_masked_text(sizes: list[int]) -> None:
    """Wherever the pieces end: they are as many bytes as there are, and whole lines fit exactly."""
    raw, mask = b"a secret b\nc secret\nthe secret", Masking({"secret"}).data
    assert len(raw) == 30
    fitted = fit_to_masked([(0.0, 1, size) for size in sizes], {1: raw}, mask)
    assert all(size >= 0 for _, _, size in fitted)
    assert sum(size for _, _, size in fitted) == len(mask(raw))
    came = taken = 0
    for size, (_, _, kept) in zip(sizes, fitted):
        came, taken = came + size, taken + kept
        if raw[:came].endswith(b"\n"):
            assert mask(raw)[:taken] == mask(raw[:came])


def test_other_streams_keep_their_sizes() -> None:
    pieces = [(0.0, 2, 5), (0.1, 1, 6), (0.2, 2, 7)]
    fitted = fit_to_masked(pieces, {1: b"secret"}, Masking({"secret"}).data)
    assert fitted == [(0.0, 2, 5), (0.1, 1, 3), (0.2, 2, 7)]


VERSION_2 = """@cpu.stat
usage_usec 2500000
user_usec 2000000
@memory.peak
3000
@memory.current
2000
@io.stat
8:0 rbytes=10 wbytes=20 rios=1 wios=1 dbytes=0 dios=0
8:16 rbytes=5 wbytes=1 rios=1 wios=1 dbytes=0 dios=0
"""
VERSION_1 = """@cpuacct/cpuacct.usage
2500000000
@memory/memory.max_usage_in_bytes
3000
@memory/memory.usage_in_bytes
2000
@blkio/blkio.throttle.io_service_bytes
8:0 Read 15
8:0 Write 21
8:0 Sync 36
Total 36
"""


@pytest.mark.parametrize("said", [VERSION_2, VERSION_1])
def test_control_groups(said: str) -> None:
    assert parse(said) == Sample(2.5, 3000, 2000, 15, 21)


def test_control_groups_that_tell_less() -> None:
    assert parse("@memory.current\n7\n@io.stat\n") == Sample(None, None, 7, 0, 0)
    assert parse("@cpu.stat\nusage_usec 5\n") is None, "of the whole node"
    assert parse("") is None


def test_half_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows a line that could not be written whole can be read."""
    journal = Journal(tmp_path, get_logger())
    journal.write(b'{"n":1}\n')

    def cut(file: int, data: bytes) -> int:
        if len(data) > 5:
            return real(file, data[:5])
        raise OSError(28, "No space left on device")

    real = os.write
    monkeypatch.setattr(os, "write", cut)
    journal.write(b'{"n":2,"x":3}\n')
    monkeypatch.undo()
    journal.write(b'{"n":3}\n')
    lines = (tmp_path / "commands.jsonl").read_text().splitlines()
    assert [lines[0], lines[-1]] == ['{"n":1}', '{"n":3}']


def test_commands_of_a_case_whose_begin_was_told_late(tmp_path: Path) -> None:
    """They go to the case, ended or not; those before it do not."""
    container = ContainerCapture("box", {}, 1 << 20, False, lambda: None, get_logger())
    container.to(tmp_path / "own")
    begun = [container.begin(name, None, "", None, "") for name in ("before", "ended", "runs")]
    before, ended, runs = (capture for capture in begun if capture is not None)
    before.started -= 10
    before.end(0)
    ended.end(0)
    container.to(tmp_path / "case", since=ended.started)
    runs.end(0)
    container.to(tmp_path / "own")

    def commands(folder: str) -> list[str]:
        lines = (tmp_path / folder / "commands.jsonl").read_text().splitlines()
        return [json.loads(line)["command"] for line in lines]

    assert (commands("own"), commands("case")) == (["before"], ["ended", "runs"])


def test_names_that_are_no_text(tmp_path: Path) -> None:
    journal = Journal(tmp_path, get_logger())
    words = ["cat", os.fsdecode(b"/\xff")]
    capture = CommandCapture(None, journal, 1, " ".join(words), words, "", {}, "", Masking(), 10)
    capture.end(0)
    journal.catch_up()
    assert json.loads((tmp_path / "commands.jsonl").read_bytes())["argv"] == words


def test_json_files_are_whole(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "b.json", {"x": "ü\udcff"})
    assert json.loads((tmp_path / "a" / "b.json").read_text("utf-8")) == {"x": "ü\udcff"}
    with pytest.raises(TypeError):
        write_json(tmp_path / "a" / "b.json", object())
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.json"]


def test_errors_are_told() -> None:
    assert told(ValueError("why")) == "ValueError: why"
    kind = type("FunctionTimedOut", (BaseException,), {})
    assert told(type("FunctionTimedOut123", (kind,), {})("all arguments")) == (
        "FunctionTimedOut: the time of the case was up"
    )
