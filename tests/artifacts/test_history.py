"""Real runs, and the output of `lisa-container history` about them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest

from lisa_container.history import INDEX_NAME, Index
from tests.support.places import PASSWORD, Place
from tests.support.soak import amount, dice

COMMON = "verify_.*"


def rows(text: str) -> list[list[str]]:
    """Return the cells of a table's lines, without the titles."""
    return [re.split(r"  +", line.strip()) for line in text.splitlines()[1:]]


def test_runs(place: Place) -> None:
    place.run(COMMON)
    place.run(COMMON, is_broken=True)
    newest, oldest = rows(place.history())
    assert newest[1:3] == oldest[1:3] == ["plain", "ended"]
    assert (newest[4:], oldest[4:]) == (["1", "1", "1", "0"], ["2", "0", "1", "0"])
    assert place.history() == place.history("runs", "-n", "2")
    assert len(rows(place.history("-n", "1"))) == 1

    text = place.history("run")
    assert f"run {newest[0]} (plain)" in text
    cases = rows(text.split("\n\n")[1])
    assert [words[:2] for words in cases] == [
        ["verify_good", "passed"],
        ["part_one", "passed"],
        ["part_two", "failed"],
        ["verify_perhaps", "failed"],
        ["verify_skipped", "skipped"],
    ]
    assert "broken on purpose" in cases[3][-1]
    assert place.history("run", "last-1").startswith(f"run {oldest[0]}")

    found = json.loads(place.history("run", newest[0], "--json"))
    assert (found["passed"], len(found["cases"]), found["cases"][1]["duration"]) == (1, 5, 0.25)
    assert (place.log / found["cases"][3]["folder"]).is_dir()


def test_a_case_over_time(place: Place) -> None:
    for is_broken in (False, True, False):
        place.run("verify_perhaps", is_broken=is_broken)
    found = rows(place.history("case", "verify_perhaps"))
    assert [words[1] for words in found] == ["passed", "failed", "passed"]
    assert len(rows(place.history("case", "verify_perhaps", "-n", "2"))) == 2
    place.run("verify_good")
    assert [words[1] for words in rows(place.history("case", "part_two"))] == ["failed"]


def test_two_runs_compared(place: Place) -> None:
    place.run(COMMON)
    place.run("verify_good|verify_perhaps", is_broken=True)
    assert rows(place.history("diff"))[1:] == [
        ["case", "verify_perhaps", "passed", "failed"],
        ["case", "verify_skipped", "skipped", "-"],
    ]
    assert "nothing changed" in place.history("diff", "last", "last")
    found = json.loads(place.history("diff", "--json"))
    assert found[0] == {
        "what": "case",
        "name": "verify_perhaps",
        "before": "passed",
        "after": "failed",
    }


def test_no_secret_in_the_kept_files(place: Place) -> None:
    place.run("verify_perhaps", is_broken=True)
    assert "the word is" in place.history("case", "verify_perhaps")
    kept = [*place.log.glob(f"{INDEX_NAME}*"), *place.log.glob("*/*/containers/*")]
    assert len(kept) >= 3
    for path in kept:
        assert PASSWORD.encode() not in path.read_bytes(), path


def test_a_killed_run(place: Place) -> None:
    """A killed run keeps all its earlier results; the next run or question finds it dead."""
    assert place.run("repeated|killed", times=3) < 0
    with Index(place.log) as index:  # no query has updated it yet
        assert [row["state"] for row in index.read("SELECT state FROM runs")] in ([], ["running"])
    (run,) = rows(place.history())
    assert run[2] == "cut short"
    found = json.loads(place.history("run", "--json"))
    statuses = {(case["name"], case["status"]) for case in found["cases"]}
    assert ("killed", "running") in statuses

    place.run("verify_good")
    place.run("killed")
    place.run("verify_good")  # sees to the one before
    with Index(place.log) as index:
        states = [row["state"] for row in index.read("SELECT state FROM runs ORDER BY started")]
    assert states == ["cut short", "ended", "cut short", "ended"]


def test_a_run_that_goes_on(place: Place) -> None:
    run = place.start("repeated", times=300)
    while not list(place.log.glob("*/*/containers/run.json")):
        assert run.poll() is None
    assert rows(place.history())[0][2] == "running"
    assert run.wait(120) == 0
    assert rows(place.history())[0][2:5:2] == ["ended", "300"]


def test_several_runners_at_once(place: Place) -> None:
    runs = [place.start("repeated|verify_good", times=40) for _ in range(4)]
    assert [run.wait(120) for run in runs] == [0] * 4
    found = rows(place.history())
    assert [words[2:5:2] for words in found] == [["ended", "80"]] * 4
    with Index(place.log) as index:
        (row,) = index.read("SELECT count(*) AS n FROM cases")
        assert row["n"] == 4 * 40 * (2 + 2), "two cases, and two sub-tests of one"


@pytest.mark.parametrize(
    "damage", [None, b"not at all" * 1000, b""], ids=["missing", "other bytes", "empty"]
)
def test_index_made_anew(place: Place, damage: bytes | None) -> None:
    """A damaged index is made again from the runs' files, a missing one by itself."""
    place.run(COMMON)
    place.run("killed")
    expected = place.history("run", "last-1", "--json"), place.history()
    path = place.log / INDEX_NAME
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    if damage:
        assert "'lisa-container history --rebuild' makes a new index" in place.history(
            is_good=False
        )
        place.history("--rebuild")
    assert (place.history("run", "last-1", "--json"), place.history()) == expected


def test_index_of_a_later_version(place: Place) -> None:
    """A later version's index is not changed, and a run works without it."""
    place.run("verify_good")
    with Index(place.log) as index:
        index.read("PRAGMA user_version = 99")
    assert "its version is 99" in place.history(is_good=False)
    assert place.run("verify_good") == 0
    assert "its version is 99" in place.history(is_good=False)
    assert len(rows(place.history("--rebuild"))) == 2


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("case", "verify_goo"), "no run in '.*' has such a case. Similar names: verify_good"),
        (("run", "1999"), "run '1999': no such run in"),
        (("run", "2"), "run '2': several ids begin so"),
        (("run", f"last-{'9' * 20}"), "run 'last-9+': no such run in"),
        (("run", "last-²"), "run 'last-²': no such run in"),
        (("diff", "last"), "given only the last run; legal: two runs, or one before it"),
        (("-n", "0"), "limit: given 0; legal: a number from 1 to"),
        (("-n", "9" * 20), "limit: given 9+; legal: a number from 1 to"),
    ],
)
def test_questions_that_have_no_answer(place: Place, words: tuple[str, ...], said: str) -> None:
    place.run("verify_good")
    place.run("verify_good")
    assert re.search(said, place.history(*words, is_good=False))


def test_closed_pipe(place: Place) -> None:
    """`history … | head` ends without a traceback, whatever it prints."""
    place.run("repeated", times=200)
    ways = ("", "run", "run --files", "run --json", "case repeated -n 1000", "diff last last")
    for words in dice("closed pipe").sample(ways, amount(len(ways), 2)):
        command = f"{sys.executable} -m lisa_container.cli history --log {place.log} {words}"
        for end in ("head -n 1", "true"):
            done = subprocess.run(
                ["bash", "-c", f"{command} | {end}; exit ${{PIPESTATUS[0]}}"],
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.stderr == "", (command, done.stderr)
            assert done.returncode in (0, 141), command


def test_removed_folder(place: Place) -> None:
    """A run whose folder was removed by hand leaves the history, with its records."""
    for _ in range(3):
        place.run("verify_good")
    newest, middle, oldest = (row[0] for row in rows(place.history()))
    found = json.loads(place.history("--json"))
    folders = {each["run"]: place.log / each["folder"] for each in found}
    shutil.rmtree(folders[middle])
    assert [row[0] for row in rows(place.history())] == [newest, oldest]
    shutil.rmtree(folders[oldest] / "containers")
    assert [row[0] for row in rows(place.history())] == [newest]
    assert "no such run" in place.history("run", oldest, is_good=False)
    place.run("verify_good")
    with Index(place.log) as index:
        assert len(index.read("SELECT * FROM runs")) == 2


def test_prune(place: Place) -> None:
    for _ in range(3):
        place.run("verify_good")
    old, *_ = json.loads(place.history("--json"))[1:]
    record = place.log / old["folder"] / "containers" / "run.json"
    content = json.loads(record.read_text())
    content |= {"started": "2026-01-01T00:00:00+00:00", "ended": "2026-01-01T01:00:00+00:00"}
    record.write_text(json.dumps(content))
    place.history("--rebuild")
    assert "is older than 9999w" in place.history("prune", "--older-than", "9999w")
    dry = place.history("prune", "--older-than", "10d", "--dry-run")
    assert dry == f"would remove run {old['run']}: {place.log / old['folder']}\n"
    assert len(rows(place.history())) == 3
    assert place.history("prune", "--older-than", "10d") == dry.replace("would remove", "removed")
    assert not (place.log / old["folder"]).exists()
    assert old["run"] not in {row[0] for row in rows(place.history())}
    for wrong in ("10", "d", "0d", "-1d", "1y", "1.5d"):
        said = place.history("prune", f"--older-than={wrong}", is_good=False)
        assert f"older-than: given '{wrong}'; legal: a number with h" in said


def test_no_log_folder(place: Place) -> None:
    assert "give --log the value of lisa's --log_path" in place.history(is_good=False)


def test_folder_that_cannot_be_written(place: Place) -> None:
    """A run works without an index; questions are answered from the run's files."""
    place.log.mkdir()
    (place.log / INDEX_NAME).mkdir()
    assert place.run("verify_good") == 0
    assert rows(place.history())[0][2] == "ended"
