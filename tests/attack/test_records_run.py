"""Runs of LISA with arbitrary text in their records, or with a full disk."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lisa_container import DockerAdvanced
from lisa_container.platforms.sandbox import SandboxNode
from tests.support import programs
from tests.support.disks import small_disk
from tests.support.nodes import as_runbook, connect_as, disconnect
from tests.support.programs import CLI
from tests.support.runs import Run, commands_of, run_lisa, runbook


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return a disk of 16 MiB for LISA's log folder."""
    with small_disk(tmp_path / "log", "16m") as path:
        yield path


USERS = ("root", "sudo", "docker")
each_user = pytest.mark.parametrize("user", USERS)


def run(machine: SandboxNode, user: str, folder: Path, names: str, *notifiers: str) -> Run:
    """Run cases of the suite, with LISA's folder on a disk."""
    book = runbook([as_runbook(machine, user)], names)
    book["extension"][0] = {"path": str(Path(__file__).parent / "suites"), "name": "attacking"}
    book["notifier"] += [{"type": name} for name in notifiers]
    filler = {"name": "filler", "value": str(folder / "log" / "filler"), "is_case_visible": True}
    return run_lisa(book | {"variable": [filler]}, folder, timeout=200)


def history(folder: Path, *words: str) -> Any:
    done = programs.run(*CLI, "history", *words, "--json", "--log", folder / "log", timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.timeout(300)
def test_odd_text_and_hostile_folders(machine: SandboxNode, tmp_path: Path) -> None:
    """A run finishes beside odd and hostile records, and so does the next one."""
    for user in USERS:
        done = run(machine, user, tmp_path, "odd_text")
        assert (done.exit_code, done.statuses()) == (0, {"odd_text": "passed"}), done.output
        bad = tmp_path / "log" / "20260101" / "bad" / "containers"
        bad.mkdir(parents=True, exist_ok=True)
        (bad / "run.json").write_text('{"run": "\\udce9", "message": 99999999999999999999}')
        (bad / "results.jsonl").write_bytes(b"\xff{\n")
    states = {x["run"]: x["state"] for x in history(tmp_path)}
    assert sorted(states.values()) == ["cut short", "ended", "ended", "ended"]
    assert states["\udce9"] == "cut short"
    container = min(tmp_path.glob("log/*/*/tests/*/containers/*/commands.jsonl")).parent
    first, second = commands_of(container)[:2]
    assert first["argv"] == ["echo", "caf\udce9 \x1b[31m"]
    assert second["environment"] == {"ODD": "caf\udce9 \x1b[31m"}
    assert {x["run"]: x["state"] for x in history(tmp_path, "--rebuild")} == states


@pytest.mark.sampled(1)
@each_user
def test_odd_failure(machine: SandboxNode, user: str, tmp_path: Path) -> None:
    """Text that a report cannot hold is escaped in LISA's complete reports."""
    done = run(machine, user, tmp_path, "odd_failure", "html", "text_result")
    statuses = {"odd_failure": "failed", r"part caf\xe9 \x1b[31m": "failed"}
    assert (done.exit_code, done.statuses()) == (1, statuses), done.output
    odd = r"caf\xe9 \x1b[31m \u009b \ufffe"
    assert odd in done.cases["odd_failure"].message
    assert r"\x00\ud800" in done.cases[r"part caf\xe9 \x1b[31m"].message
    (html,) = tmp_path.glob("log/*/*/lisa.html")
    (result,) = tmp_path.glob("log/*/*/lisa-*-result.txt")
    for report in (html, result):
        assert odd in report.read_text(encoding="utf-8")
    (case,) = history(tmp_path, "run")["cases"][:1]
    assert odd in case["message"]


def console_statuses(output: str) -> dict[str, str]:
    """Read the table that LISA prints at its end."""
    found = re.findall(r"Records\.(\w+): +(\w+)", output)
    return {name: status.lower() for name, status in found}


def check_full(done: Run, folder: Path) -> None:
    """Check that one warning says what is not recorded and where, and that the log is no flood."""
    assert "failed on purpose" in done.output, done.output
    lines = done.output.splitlines()
    warnings = [x for x in lines if "[WARNING]" in x and "cannot be recorded in" in x]
    assert len(warnings) == 1, done.output
    assert "No space left on device" in warnings[0] and f"/{folder.name}/log/" in warnings[0]
    assert "Logging error" not in done.output, done.output
    assert len(lines) < 1000


@pytest.mark.sampled(1)
@each_user
@pytest.mark.timeout(300)
def test_room_is_made_again(machine: SandboxNode, user: str, disk: Path, tmp_path: Path) -> None:
    """Cases run to their ends on the full disk; with room again, all results are recorded."""
    done = run(machine, user, tmp_path, "full_disk|after_it|with_room")
    check_full(done, tmp_path)
    statuses = {"full_disk": "failed", "after_it": "passed", "with_room": "passed"}
    assert done.statuses() == statuses
    assert done.exit_code == 1
    told = history(tmp_path, "run")
    assert (told["state"], told["passed"]) == ("ended", 2)
    assert {x["name"]: x["status"] for x in told["cases"]} == statuses
    (log,) = disk.glob("*/*/tests/*with_room/*.log")
    assert "result: PASSED" in log.read_text()


@pytest.mark.sampled(1)
@each_user
@pytest.mark.timeout(300)
def test_full_disk(machine: SandboxNode, user: str, disk: Path, tmp_path: Path) -> None:
    """A run whose disk stays full goes to its end, and LISA prints all results."""
    done = run(machine, user, tmp_path, "full_disk|after_it")
    check_full(done, tmp_path)
    statuses = {"full_disk": "failed", "after_it": "passed"}
    assert console_statuses(done.output) == statuses, done.output
    assert done.exit_code == 1
    (disk / "filler").unlink()
    assert [x["name"] for x in history(tmp_path, "run")["cases"]][:1] == ["full_disk"]


@pytest.mark.sampled(1)
@each_user
def test_ps(machine: SandboxNode, user: str) -> None:
    """Hostile labels and names are shown escaped."""
    node = connect_as(machine, user)
    node.tools[DockerAdvanced].run_in_container("lisa_container/busybox", "true")
    disconnect(node)
    hostile = "\x1b]0;owned\x07\u202e"
    machine.run(
        [
            *("docker", "volume", "create", "--label", "lisa_container.lease=0123456789abcdef"),
            *("--label", f"lisa_container.run={hostile}", "hostile"),
        ]
    )
    target = [
        f"{as_runbook(machine, user)['username']}@{machine.address}",
        "-i",
        str(machine.private_key_file),
    ]
    try:
        for words in (["ps"], ["ps", "--json"], ["reap", "--dry-run"]):
            done = programs.run(*CLI, *words, *target, timeout=120)
            assert done.returncode == 0, done.stderr
            text = done.stdout
            assert all(x.isprintable() or x == "\n" for x in text), text
            assert "owned" in text
    finally:
        machine.run("docker volume rm hostile")
