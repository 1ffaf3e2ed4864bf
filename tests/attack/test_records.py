"""Files of a run with arbitrary content: each run and each question finishes."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_container.escaping import printable, restored, storable
from lisa_container.history import History, Index
from lisa_container.history.ingest import catch_up
from lisa_container.recording.files import json_line, write_json
from tests.support.disks import fill, small_disk

NOW = "2026-11-29T05:30:46.000000+00:00"
BYTES = os.fsdecode(b"caf\xe9")
# A colour, a title, bytes that are not UTF-8, an override of the direction, NUL, C1, a backslash.
HOSTILE = f"\x1b[31m\x1b]0;owned\x07 {BYTES} \u202egpj.exe \0 \x9b31m C:\\x1b"
BAD_DATES = ["9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+14:00", "x", 5, {}, "2026-13-01"]
HUGE = int("9" * 20)


def run_record(**more: Any) -> dict[str, Any]:
    return {"format": 1, "run": "r", "name": "n", "started": NOW, "ended": NOW, "pid": 1} | more


def result(**more: Any) -> dict[str, Any]:
    line = {"id": "1", "parent": "", "suite": "s", "name": "verify_it", "status": "passed"}
    return {**line, "message": "", "started": NOW, "duration": 1.5, "folder": "tests/1"} | more


def command(**more: Any) -> dict[str, Any]:
    line = {"n": 1, "state": "ended", "command": "true", "cwd": "", "user": "", "started": NOW}
    stream = {"bytes": 0, "cut": 0}
    return {**line, "duration": 0.5, "exit_code": 0, "stdout": stream, "stderr": stream} | more


def container(**more: Any) -> dict[str, Any]:
    return {"name": "box", "id": "c", "node": "n", "engine": "e", "image": "i"} | more


class Folder:
    """A run's folder.

    Args:
        path: of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.own = path / "containers"
        self.box = self.own / "box"
        self.case = path / "tests" / "1"
        self.commands = self.case / "containers" / "box" / "commands.jsonl"
        for folder in (self.box, self.commands.parent):
            folder.mkdir(parents=True)
        write_json(self.own / "run.json", run_record(run=path.name))
        write_json(self.box / "container.json", container())
        write_json(self.box / "tools.json", [{"name": "t", "manager": "pip", "version": "1"}])
        write_json(self.case / "case.json", {"id": "1", "name": "verify_it", "containers": ["box"]})
        (self.own / "results.jsonl").write_bytes(json_line(result()))
        self.commands.write_bytes(json_line(command()))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def damaged(log: Path) -> Folder:
    """Return a run for the test to damage; those before and after it are sound."""
    Folder(log / "20260101" / "first")
    Folder(log / "20260101" / "third")
    return Folder(log / "20260101" / "second")


def look(log: Path) -> tuple[dict[str, str], list[str]]:
    """Return the state of each run in a new index, and the problems; check the sound runs."""
    Index.remove(log)
    with Index(log) as index:
        problems = catch_up(index)
        history = History(index)
        for name in ("first", "third"):
            run = history.run(name)
            assert (run.state, run.passed, run.containers, run.commands) == ("ended", 1, 1, 1)
        catch_up(index)  # once more, over what is there
        return {run.run: run.state for run in history.runs(999)}, problems


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def device(path: Path) -> None:
    path.unlink()
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def gigabyte(path: Path) -> None:
    os.truncate(path, 1 << 30)


def content(data: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(data)

    return write


DAMAGES: dict[str, Callable[[Path], None]] = {
    "fifo": fifo,
    "device": device,
    "link": link,
    "directory": directory,
    "gigabyte": gigabyte,
    "garbage": content(os.urandom(9999) + b"\n"),
    "nuls": content(b"\0" * 9999 + b"\n"),
    "deep": content(b"[" * 200_000 + b"]" * 200_000 + b"\n"),
    "deep_config": content(b'{"config":' * 900 + b"1" + b"}" * 900 + b"\n"),
    "number": content(b'{"n":' + b"9" * 5000 + b"}\n"),
    "list": content(b"[1, null, []]\n"),
    "empty": content(b"{}\n"),
}
FILES = ["run.json", "results.jsonl", "container.json", "tools.json", "case.json", "commands.jsonl"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", FILES)
def test_anything_in_the_place_of_a_record(log: Path, damaged: Folder, name: str) -> None:
    for damage, work in DAMAGES.items():
        (path,) = Folder(log / "20260101" / damage).path.rglob(name)
        work(path)
    states, problems = look(log)
    assert set(states) == {"first", "second", "third", *DAMAGES}
    for damage in ("fifo", "device", "link", "directory"):
        if name != "case.json":  # asked for only where no result names the case
            assert any(name in x and f"'{damage}'" in x for x in problems), problems
        assert states[damage] == ("unreadable" if name == "run.json" else "ended")


VALUES: list[Any] = [
    *(HUGE, -HUGE, 1e308, float("nan"), float("inf"), -1, True, None),
    *("", "x", HOSTILE, "\ud800", [], [[]], {}, {"bytes": HUGE}, ["../..", "/etc", 7, "\0"]),
]


@pytest.mark.timeout(120)
def test_any_value_in_any_field(log: Path, damaged: Folder) -> None:
    """A field's value is taken or left out; the run itself stays."""
    runs = {"first", "second", "third"}
    for number, value in enumerate(VALUES + BAD_DATES):
        run = Folder(log / "20260101" / f"value{number}")
        runs.add(run.path.name)
        records = {
            run.own / "run.json": run_record(run=run.path.name, message="", versions={}),
            run.own / "results.jsonl": result(),
            run.box / "container.json": container(suite="", case="", exit_code=0, config={}),
            run.box / "tools.json": {"name": "t", "version": "", "manager": "pip"},
            run.case / "case.json": {"id": "1", "name": "v", "containers": ["box"]},
            run.commands: command(signal=None, error="", resources={"cpu": 1.0, "read": 1}),
        }
        for path, record in records.items():
            lines = [json.dumps(record | {x: value}) for x in record if x != "run"]
            if path.suffix == ".jsonl":
                path.write_text("\n".join(lines) + "\n")
            elif path.name == "tools.json":
                path.write_text(f"[{', '.join(lines)}]")
            else:
                path.write_text(
                    json.dumps(dict.fromkeys(record, value) | {"run": record.get("run")})
                )
    assert set(look(log)[0]) == runs


def test_exit_code_of_twenty_digits(log: Path, damaged: Folder) -> None:
    """A command with an impossible exit code is in the index without it."""
    damaged.commands.write_bytes(json_line(command(exit_code=HUGE)))
    states, (problem,) = look(log)
    assert states["second"] == "ended"
    assert "tests/1/containers/box/commands.jsonl' field 'exit_code': given a huge nu" in problem


def test_endless_line(log: Path, damaged: Folder) -> None:
    """An endless line is not held in memory and does not hide the lines behind it."""
    with damaged.commands.open("ab") as file:
        file.truncate(300 << 20)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + json_line(command(n=2)))
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from lisa_container.history import History, Index\n"
        "from lisa_container.history.ingest import catch_up\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "with Index(Path(sys.argv[1])) as index:\n"
        "    catch_up(index)\n"
        "    assert History(index).run('second').commands == 2\n"
        "grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before\n"
        "import os; os.write(1, str(grown).encode())  # print goes to LISA's log\n"
    )
    done = subprocess.run([sys.executable, "-c", script, log], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 150_000, "KiB"


def test_names_that_lead_elsewhere(log: Path, damaged: Folder, tmp_path: Path) -> None:
    """A link to a folder is no container, and a name is not used as a path."""
    other = Folder(tmp_path / "else" / "where")
    write_json(other.box / "container.json", container(name="other"))
    elsewhere = tmp_path / "else" / "where" / "containers" / "box"
    (damaged.own / "linked").symlink_to(elsewhere)
    names = ["../../../../else/where/containers/box", str(elsewhere), "..", ""]
    write_json(damaged.case / "case.json", {"id": "1", "containers": names})
    look(log)
    with Index(log) as index:
        catch_up(index)
        assert [x.name for x in History(index).containers(History(index).run("second"))] == ["box"]


def test_a_folder_removed_by_hand(log: Path, damaged: Folder) -> None:
    look(log)
    damaged.path.rename(log.parent / "away")
    with Index(log) as index:
        catch_up(index)
        assert {run.run for run in History(index).runs(9)} == {"first", "third"}
        assert not index.read("SELECT * FROM commands WHERE run NOT IN (SELECT id FROM runs)")
    (log.parent / "away").rename(damaged.path)
    assert "second" in look(log)[0]


def hostile(damaged: Folder) -> None:
    """Have each text of the run be hostile."""
    write_json(damaged.own / "run.json", run_record(run="second", name=HOSTILE, message=HOSTILE))
    write_json(damaged.box / "container.json", container(image=HOSTILE, node=HOSTILE))
    write_json(damaged.box / "tools.json", [dict.fromkeys(("name", "version", "manager"), HOSTILE)])
    line = result(message=HOSTILE, name=HOSTILE, suite=HOSTILE)
    (damaged.own / "results.jsonl").write_bytes(json_line(line))
    damaged.commands.write_bytes(json_line(command(command=HOSTILE, error=HOSTILE)))


def test_text_is_unchanged(log: Path, damaged: Folder) -> None:
    """Text is unchanged after its way into the index and out of it."""
    hostile(damaged)
    look(log)
    with Index(log) as index:
        history = History(index)
        run = history.run("second")
        assert (run.name, run.message) == (HOSTILE, HOSTILE)
        assert history.results(run) == [(HOSTILE, HOSTILE, HOSTILE)]
        assert history.containers(run)[0].image == HOSTILE
        assert history.case(HOSTILE, 5)[0].message == HOSTILE


def history(log: Path, *words: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "lisa_container.cli", "history", *words, "--log", str(log)]
    return subprocess.run(command, capture_output=True, timeout=120, **more)


@pytest.mark.parametrize("locale", ["C.UTF-8", "POSIX"])
def test_terminal(log: Path, damaged: Folder, locale: str) -> None:
    """No output has a control sequence of a terminal."""
    hostile(damaged)
    environment = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for words in (["run", "second", "--files"], ["diff", "first", "second"], [], ["--json"]):
        done = history(log, *words, env=environment)
        assert done.returncode == 0, done.stderr
        text = done.stdout.decode()
        assert all(x.isprintable() or x == "\n" for x in text), text
        if "--json" in words:
            assert HOSTILE in [run["name"] for run in json.loads(text)]
        else:
            assert r"\x1b[31m\x1b]0;owned\x07 caf\xe9 \u202egpj.exe \x00 \u009b31m C:\\x1b" in text


def test_closed_pipe(log: Path, damaged: Folder) -> None:
    """The command ends silently when its reader has gone, as in `history | head`."""
    look(log)
    command = [sys.executable, "-m", "lisa_container.cli", "history", "--log", str(log)]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, timeout=120)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=120)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [b"[Errno 28] No space left on device"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "2m") as path:
        yield path


@pytest.mark.parametrize("is_indexed", [False, True])
def test_questions_on_a_full_disk(disk: Path, is_indexed: bool) -> None:
    """Questions are answered from files; the index is complete once there is room."""
    log = disk / "log"
    Folder(log / "20260101" / "first")
    if is_indexed:
        assert history(log).returncode == 0
    Folder(log / "20260101" / "second")
    filler = fill(disk)
    done = history(log)
    assert done.returncode == 0, done.stderr
    assert {b"first", b"second"} <= set(done.stdout.split())
    assert b"warning: index" in done.stderr
    assert b"made from the runs' files" in done.stderr
    filler.unlink()
    done = history(log)
    assert (done.returncode, done.stderr) == (0, b"")
    assert {b"first", b"second"} <= set(done.stdout.split())


TEXTS = st.text(st.characters() | st.sampled_from("\\udxce9n\x1b\udce9\ud800\u202e\0"))


@given(TEXTS)
def test_storable(text: str) -> None:
    """Any text can be encoded and decoded, and no two texts are encoded alike."""
    stored = storable(text)
    stored.encode("utf-8")
    assert restored(stored) == text


@given(TEXTS, TEXTS)
def test_printable(text: str, other: str) -> None:
    """Any text can be shown, and no two texts look alike."""
    shown = printable(text)
    assert shown.isprintable()
    assert (printable(other) == shown) == (other == text)
    assert printable(text, "\n").replace("\n", "").isprintable()
