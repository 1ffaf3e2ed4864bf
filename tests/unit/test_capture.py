"""Records without an engine: names of secrets, sizes of masked pieces, control groups."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from lisa.util.logger import get_logger

from lisa_container.masking import Masking
from lisa_container.recording.commands import (
    CommandCapture,
    CommandDescription,
    Journal,
    Sample,
    parse,
)
from lisa_container.recording.commands.pieces import fit_to_masked
from lisa_container.recording.container import ContainerCapture
from lisa_container.recording.files import describe_error, write_json


@pytest.mark.parametrize("sizes", [[30], [1] * 30, [5, 20, 5], [3, 9, 9, 9], [12, 18], [10, 20]])
def test_sizes_fit_the_masked_text(sizes: list[int]) -> None:
    """Recorded sizes add up to the masked text, and whole lines have exact sizes."""
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
    """A record behind an incomplete line can be read."""
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


def test_command_looks_for_its_case(tmp_path: Path) -> None:
    """Only a command without a case looks for its case first."""
    container = ContainerCapture("box", {}, 1 << 20, False, lambda: None, get_logger())
    cases = iter([None, tmp_path / "case"])
    container.find_case = lambda: container.record_to(next(cases))
    for name in ("before", "first", "second"):
        command = container.begin_command(CommandDescription(name))
        assert (command is None) == (name == "before")  # recorded nowhere
        if command is not None:
            command.end(0)
    container.record_to(None)
    lines = (tmp_path / "case" / "commands.jsonl").read_text().splitlines()
    assert [json.loads(line)["command"] for line in lines] == ["first", "second"]


def test_names_that_are_no_text(tmp_path: Path) -> None:
    journal = Journal(tmp_path, get_logger())
    words = ["cat", os.fsdecode(b"/\xff")]
    command = CommandDescription(" ".join(words), words)
    capture = CommandCapture(None, journal, 1, command, Masking(), 10)
    capture.end(0)
    journal.catch_up()
    assert json.loads((tmp_path / "commands.jsonl").read_bytes())["argv"] == words


def test_json_files_are_whole(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "b.json", {"x": "ü\udcff"})
    assert json.loads((tmp_path / "a" / "b.json").read_text("utf-8")) == {"x": "ü\udcff"}
    with pytest.raises(TypeError):
        write_json(tmp_path / "a" / "b.json", object())
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.json"]


def test_describe_error() -> None:
    assert describe_error(ValueError("why")) == "ValueError: why"
    kind = type("FunctionTimedOut", (BaseException,), {})
    assert describe_error(type("FunctionTimedOut123", (kind,), {})("all arguments")) == (
        "FunctionTimedOut: the time of the case was up"
    )
