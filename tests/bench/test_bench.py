"""Runs of the benchmarks; a missed target and a failed row are reported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.page import NOTES, page, table
from bench.result import Line, Of, Row, Target, number
from bench.rows import ROWS
from bench.timing import Stopwatch, interleave, repeated

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("target", "holds"),
    [
        (Target(2.0), True),
        (Target(1.9), False),
        (Target(1.0, Of.DIFFERENCE), True),
        (Target(0.9, Of.DIFFERENCE), False),
        (Target(2.0, Of.VALUE), True),
        (Target(1.9, Of.VALUE), False),
        (None, None),
    ],
)
def test_targets(target: Target | None, holds: bool | None) -> None:
    """A missed target is reported as missed, a met one as met."""
    line = Line("ours", 2.0, "other", 1.0, target=target)
    assert line.holds is holds
    last = table([Row("name", (line,))]).splitlines()[-1]
    assert ("**missed**" in last) is (holds is False)
    assert ("| yes " in last) is (holds is True)


def test_target_without_alternative() -> None:
    with pytest.raises(ValueError, match="no alternative"):
        Line("ours", 2.0, target=Target(1.0)).holds  # noqa: B018


def test_failed_row() -> None:
    """A failed row does not count as one without numbers."""
    assert "**failed**" in table([Row("name", error="AssertionError: exit code 1\nmore")])


def test_turns() -> None:
    """Ways run in turns after an uncounted round, and a failure is no sample."""
    seen: list[str] = []
    ways = {"a": repeated(lambda: seen.append("a")), "b": repeated(lambda: seen.append("b"), 2)}
    found = interleave(ways, rounds=2)
    assert "".join(seen) == "abb" * 3
    assert [len(found[name].samples[""]) for name in "ab"] == [2, 4]

    watch = Stopwatch()
    with pytest.raises(ZeroDivisionError), watch("phase"):
        _ = 1 / 0
    assert not watch.samples


def test_numbers() -> None:
    assert [number(x) for x in (0.0012345, 0.5, 12.345, 1234.5)] == [
        *("0.00123", "0.500", "12.3"),
        "1234",
    ]


def test_page() -> None:
    """Each row has its title, its text and its notes; each note belongs to a row."""
    text = page([Row("one")], {"CPU": "of some kind"}, {"one": "What it is.\n\nHow it is."})
    assert "## one: what it is\n\nHow it is.\n" in text
    assert "- CPU: of some kind\n" in text
    assert {note.stem for note in NOTES.glob("*.md")} <= set(ROWS)


def test_docs() -> None:
    """The page of the documentation has every row."""
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    for name in ROWS:
        assert f"\n## {name}: " in text
        assert f"\n| {name} " in text
    assert "**failed**" not in text


def test_run(tmp_path: Path) -> None:
    """Two rows run on a real node, as by `make bench ROWS=…`."""
    names = ["node", "start"]
    words = [sys.executable, "-m", "bench", "--quick", "--page", str(tmp_path / "page.md"), *names]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert str(tmp_path.parent) not in text
    for name in names:
        assert f"\n## {name}: " in text
        lines = [line for line in text.splitlines() if line.startswith(f"| {name} ")]
        assert lines and all(line in done.stdout for line in lines)
        assert not any("**failed**" in line for line in lines)


def test_unknown_row() -> None:
    """An unknown row is an error before anything is made."""
    words = [sys.executable, "-m", "bench", "--quick", "nod"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "nod" in done.stderr and "transfer" in done.stderr
