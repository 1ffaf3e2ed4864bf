"""Snapshots of outputs: found, missing, different, updated; and nothing beside them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lisa import LisaException, secret

from lisa_container import CommandResult, assert_output_matches
from lisa_container.errors import (
    ConfigError,
    SnapshotError,
    SnapshotMismatchError,
    SnapshotMissingError,
)
from lisa_container.snapshots import UPDATE_ENVIRONMENT, check, snapshots_of
from lisa_container.snapshots.difference import diff_texts
from lisa_container.snapshots.normalise import BUILT_IN


@pytest.fixture(autouse=True)
def not_updating(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(UPDATE_ENVIRONMENT, raising=False)


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the warnings in the log, as a list that grows."""
    said: list[str] = []
    monkeypatch.setattr(check, "get_logger", lambda name: SimpleNamespace(warning=said.append))
    return said


@pytest.fixture
def local_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    """Return a suite whose file is in the test's folder."""
    (tmp_path / "my_suite.py").write_text("class Mine:\n    output_rules = None\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import my_suite

    yield my_suite.Mine
    del sys.modules["my_suite"]


def result(stdout: bytes = b"", stderr: bytes = b"", is_cut: bool = False) -> CommandResult:
    return CommandResult(
        stdout.decode().strip(),
        "",
        0,
        "x",
        "y",
        0.1,
        stdout_bytes=stdout,
        stderr_bytes=stderr,
        is_cut=is_cut,
    )


def test_it_matches_or_not(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("at <time>\nok\n")
    assert_output_matches("at 12:00:01\nok", "x", tmp_path)
    assert_output_matches(b"at 12:00:02\r\nok\n\n", "x", tmp_path)
    with pytest.raises(SnapshotMismatchError) as caught:
        assert_output_matches("at 12:00:01\nbad\n", "x", tmp_path)
    message = str(caught.value)
    assert "--- snapshot\n+++ output\n@@ -1,3 +1,3 @@\n at <time>\n-ok\n+bad\n" in message
    assert str(tmp_path / "x.txt") in message and f"{UPDATE_ENVIRONMENT}=1" in message
    assert isinstance(caught.value, AssertionError) and isinstance(caught.value, LisaException)
    assert (tmp_path / "x.txt").read_text() == "at <time>\nok\n"


def test_a_missing_one_fails_and_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(SnapshotMissingError, match="is not there yet") as caught:
        assert_output_matches("at 12:00:01", "x", tmp_path / "none")
    assert f"{UPDATE_ENVIRONMENT}=1" in str(caught.value) and str(caught.value).endswith(
        "\nat <time>\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_updating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings: list[str]) -> None:
    folder, path = tmp_path / "a" / "b", tmp_path / "a" / "b" / "x.txt"
    monkeypatch.setenv(UPDATE_ENVIRONMENT, "1")
    assert_output_matches("at 12:00:01", "x", folder)
    assert path.read_text() == "at <time>\n" and path.stat().st_mode & 0o777 == 0o644
    before = path.stat()
    assert_output_matches("at 12:00:02", "x", folder)
    assert path.stat() == before
    assert_output_matches("later", "x", folder)
    assert path.read_text() == "later\n"
    assert [text.partition(":")[0] for text in warnings] == [
        "snapshot 'x' was made",
        "snapshot 'x' was updated",
    ]
    assert "-at <time>\n+later" in warnings[1]
    assert [each.name for each in folder.iterdir()] == ["x.txt"]
    monkeypatch.setenv(UPDATE_ENVIRONMENT, "0")
    with pytest.raises(SnapshotMismatchError):
        assert_output_matches("again", "x", folder)


def test_an_empty_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SnapshotMissingError):
        assert_output_matches("", "x", tmp_path)
    monkeypatch.setenv(UPDATE_ENVIRONMENT, "true")
    assert_output_matches("", "x", tmp_path)
    monkeypatch.delenv(UPDATE_ENVIRONMENT)
    assert_output_matches("", "x", tmp_path)
    with pytest.raises(SnapshotMismatchError):
        assert_output_matches("y", "x", tmp_path)


def test_a_result_in_a_case(local_suite: Any, tmp_path: Path, warnings: list[str]) -> None:
    suite = local_suite()
    with snapshots_of(suite, {"update_snapshots": "True"}):
        result(b"10.0.0.1").assert_output_matches("x")
        result(stderr=b"oops").assert_output_matches("y", stream="stderr")
    folder = tmp_path / "snapshots" / "Mine"
    assert (folder / "x.txt").read_text() == "<ip 1>\n"
    assert (folder / "y.txt").read_text() == "oops\n"
    assert len(warnings) == 2
    with snapshots_of(suite, {}):
        result(b"10.0.0.2").assert_output_matches("x")
        with pytest.raises(SnapshotMismatchError):
            result(b"10.0.0.2").assert_output_matches("x", rules=BUILT_IN.without("ip"))
    suite.output_rules = BUILT_IN.without("ip")
    with snapshots_of(suite, {"update_snapshots": False}), pytest.raises(SnapshotMismatchError):
        result(b"10.0.0.2").assert_output_matches("x")


def test_cases_at_once_have_their_own(local_suite: Any, tmp_path: Path) -> None:
    """Concurrent cases use the snapshots of their own threads."""
    (tmp_path / "x.txt").write_text("ok\n")
    inside, done = threading.Event(), threading.Event()

    def case() -> None:
        with snapshots_of(local_suite(), {}):
            inside.set()
            done.wait(10)

    other = threading.Thread(target=case)
    other.start()
    inside.wait(10)
    with pytest.raises(ConfigError, match="no case runs in this thread"):
        assert_output_matches("ok", "x")
    done.set()
    other.join()


def test_colours_of_a_result_are_there_to_compare(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("\x1b[1mok\x1b[0m\n")
    result(b"\x1b[1mok\x1b[0m").assert_output_matches(
        "x", folder=tmp_path, rules=BUILT_IN.without("ansi")
    )


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/x",
        ".x",
        "x.",
        "a\\b",
        "a b",
        "x\n",
        "a\0",
        "é",
        "x" * 101,
        3,
    ],
)
def test_names_that_are_none(name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(UPDATE_ENVIRONMENT, "1")
    with pytest.raises(ConfigError, match="snapshot, name: given"):
        assert_output_matches("ok", name, tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


def test_errors_of_wrong_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="given 'both'; legal: stdout or stderr"):
        result().assert_output_matches("x", stream="both", folder=tmp_path)
    with pytest.raises(SnapshotError, match="keep_output=True"):
        result(is_cut=True).assert_output_matches("x", folder=tmp_path)
    with pytest.raises(ConfigError, match="'update_snapshots': given 'maybe'"):
        snapshots_of(object(), {"update_snapshots": "maybe"}).__enter__()
    monkeypatch.setenv(UPDATE_ENVIRONMENT, "maybe")
    with pytest.raises(ConfigError, match=f"{UPDATE_ENVIRONMENT}: given 'maybe'"):
        assert_output_matches("ok", "x", tmp_path)
    monkeypatch.delenv(UPDATE_ENVIRONMENT)
    made = type("Made", (), {"__module__": "nowhere"})
    with snapshots_of(made(), {}), pytest.raises(ConfigError, match="'Made' has no file"):
        assert_output_matches("ok", "x")


def test_snapshots_that_are_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.txt").write_bytes(b"\xff")
    with pytest.raises(SnapshotError, match="not UTF-8 text"):
        assert_output_matches("ok", "x", tmp_path)
    (tmp_path / "y.txt").mkdir()
    with pytest.raises(SnapshotError, match="cannot be read: Is a directory"):
        assert_output_matches("ok", "y", tmp_path)
    monkeypatch.setenv(UPDATE_ENVIRONMENT, "1")
    (tmp_path / "file").write_text("")
    with pytest.raises(SnapshotError, match="cannot be written"):
        assert_output_matches("ok", "z", tmp_path / "file")


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(UPDATE_ENVIRONMENT, "1")
    assert_output_matches("old", "x", tmp_path)

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SnapshotError, match="cannot be written: No space left"):
        assert_output_matches("new", "x", tmp_path)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("x.txt", "old\n")]


def test_line_ends_of_a_checkout_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"a\r\nb\r\n")
    assert_output_matches("a\nb\n", "x", tmp_path)


def test_no_secret_gets_into_a_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    secret.add_secret("pass 10.0.0.1 word")
    with pytest.raises(SnapshotMissingError) as caught:
        assert_output_matches("is pass 10.0.0.1 word", "x", tmp_path)
    monkeypatch.setenv(UPDATE_ENVIRONMENT, "1")
    assert_output_matches("is pass 10.0.0.1 word", "x", tmp_path)
    assert (tmp_path / "x.txt").read_text() == "is ******\n"
    assert "word" not in str(caught.value).split("The output:")[1] + warnings[0]


def test_a_snapshot_of_another_user_matches(tmp_path: Path) -> None:
    """A snapshot matches although LISA masks the name of the node's user in it."""
    (tmp_path / "x.txt").write_text("drwx 2 admin admin\n")
    secret.add_secret("admin", secret.PATTERN_HEADTAIL)
    try:
        assert_output_matches("drwx 2 admin admin", "x", tmp_path)
    finally:
        secret.reset()


_WRITER = """
import sys
from pathlib import Path
from lisa_container.snapshots.store import write_snapshot
while not Path(sys.argv[2]).exists():
    write_snapshot(Path(sys.argv[1]), sys.argv[3] * 200_000)
"""


def test_two_runners_at_once(tmp_path: Path) -> None:
    """A reader sees a whole snapshot while two runners write it."""
    path, stop = tmp_path / "folder" / "x.txt", tmp_path / "stop"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path), str(stop), letter], env=os.environ.copy()
        )
        for letter in "ab"
    ]
    seen: set[str] = set()
    try:
        deadline = time.monotonic() + 60
        while len(seen) < 2 and time.monotonic() < deadline:
            if path.exists():
                seen.add(path.read_text())
    finally:
        stop.touch()
        codes = [writer.wait(30) for writer in writers]
    assert codes == [0, 0]
    assert seen == {"a" * 200_000, "b" * 200_000}
    assert [each.name for each in path.parent.iterdir()] == ["x.txt"]


def test_differences_of_large_outputs_are_short() -> None:
    old = "".join(f"line {x}\n" for x in range(100_000))
    new = old.replace("line 70000\n", "line x\n")
    started = time.process_time()
    found = diff_texts(old, new)
    assert time.process_time() - started < 5
    assert found.startswith("(from line 69998 on, at most 2000 lines)\n--- snapshot")
    assert "-line 70000\n+line x\n" in found and len(found) < 500
    found = diff_texts("a\n", "".join(f"new {x:060}\n" for x in range(1_500)))
    assert len(found) < 21_000 and "(cut: " in found
