"""Test that each container used in a case belongs to the case, also one made in its code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lisa_container.history import History, Index
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import as_runbook, containers
from tests.support.runs import Run, commands_of, run_lisa, runbook

pytestmark = pytest.mark.usefixtures("nothing_left")

EVIDENCE = {"changes.json", "state.json", "inspect.json", "container.log"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def run(folder: Path, machine: SandboxNode) -> Run:
    finished = run_lisa(runbook([as_runbook(machine)], "(own|idle|shot)_.*"), folder)
    assert finished.statuses() == {
        "own_passed": "passed",
        "own_recovered": "passed",
        "own_skipped": "skipped",
        "own_finally": "failed",
        "own_timeout": "failed",
        "own_failed": "failed",
        "shot_failed": "failed",
        "shot_timeout": "failed",
        "shot_created": "failed",
        "shot_elsewhere": "passed",
        "idle_untouched": "passed",
        "idle_own": "failed",
        "idle_decorated": "failed",
        "idle_by_code": "failed",
        "idle_by_signature": "passed",
        "idle_by_annotation": "passed",
        "idle_prepared": "passed",
    }, finished.output
    return finished


def case_of(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Path]]:
    """Return the content of a case's case.json, and the folders of its containers by their names."""
    (case,) = folder.glob(f"log/*/*/tests/*-{name}")
    record = json.loads((case / "case.json").read_text(encoding="utf-8"))
    return record, {each: case / "containers" / each for each in record["containers"]}


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    ("name", "status", "kept"),
    [
        ("own_passed", "passed", {"own_passed": "again"}),
        ("own_recovered", "passed", {"own_recovered": "recovered", "own_bare": "bare"}),
        ("own_skipped", "skipped", {"own_skipped": "skipped"}),
        ("own_finally", "failed", {"own_finally": "finally"}),
        ("own_timeout", "failed", {"own_timeout": "begun"}),
        ("own_failed", "failed", {"own_left": "left", "own_failed": "failed"}),
        ("shot_timeout", "failed", {"shot_timeout": "begun"}),
        ("shot_created", "failed", {"shot_created": "hand"}),
        ("idle_own", "failed", {"idle_own": "own"}),
        ("idle_decorated", "failed", {"": "decorated", "idle_beside": "beside"}),
        ("idle_by_code", "failed", {"": "code"}),
        ("idle_by_signature", "passed", {"": ""}),
    ],
)
def test_case(name: str, status: str, kept: dict[str, str], run: Run, folder: Path) -> None:
    """The case has its containers, their commands, artifacts and, after a failure, evidence."""
    record, found = case_of(folder, name)
    assert (record["status"], record["ended"] > record["started"]) == (status, True)
    own = {container: path for container, path in found.items() if container in kept}
    others = [path for container, path in found.items() if container not in kept]
    assert len(found) == len(kept) and len(others) == int("" in kept), found
    for path, text in [(own.get(key, *others), text) for key, text in kept.items()]:
        is_failed = status == "failed"
        assert EVIDENCE.intersection(x.name for x in path.iterdir()) == (
            EVIDENCE if is_failed else set()
        )
        if text:
            assert (path / "files" / "kept").read_text() == f"{text}\n"
            commands = (path / "commands.jsonl").read_text(encoding="utf-8")
            assert f"echo {text} >/kept" in commands
        if is_failed:
            state = json.loads((path / "state.json").read_text(encoding="utf-8"))
            assert state["problems"] == []
            changes = json.loads((path / "changes.json").read_text(encoding="utf-8"))
            assert "/kept" in [each["path"] for each in changes["added"]]


def test_time_limit(machine: SandboxNode, tmp_path: Path) -> None:
    """LISA's message names the record of the commands, and LISA cuts off no removal."""
    names = ["lasting_timeout", "lasting_decorated"]
    run = run_lisa(runbook([as_runbook(machine)], "lasting_.*"), tmp_path)
    assert run.statuses() == dict.fromkeys(names, "failed"), run.output
    for name in names:
        ((_, folder),) = case_of(tmp_path, name)[1].items()
        record = str(folder / "commands.jsonl")
        message = run.cases[name].message
        assert "time out in 8 seconds. " in message and f"output so far: '{record}'" in message
        (last,) = [line for line in run.output.splitlines() if f".{name}: FAILED" in line]
        assert record in last
        assert commands_of(folder)[-1]["stdout"]["text"] == "begun\n"
    assert "could not be removed" not in run.output and "SSH connection" not in run.output


def test_one_shots(run: Run, folder: Path) -> None:
    """Each container of one command has a record, even a second one of the same name."""
    _, found = case_of(folder, "shot_failed")
    first, failed = found.values()
    assert first.name == "shot" and failed.name != first.name
    ((passed,), (record,)) = commands_of(first), commands_of(failed)
    assert (passed["argv"], passed["exit_code"]) == (["echo", "first"], 0)
    assert passed["stdout"]["text"] == "first\n"
    assert (record["exit_code"], record["argv"]) == (7, None)
    assert (record["stdout"]["text"], record["stderr"]["text"]) == ("out\n", "err\n")
    assert not EVIDENCE.intersection(x.name for x in first.iterdir())
    assert {x.name for x in failed.iterdir()} >= EVIDENCE
    assert (failed / "files" / "kept").read_text() == "shot\n"
    (own,) = folder.glob(f"log/*/*/containers/{failed.name}/container.json")
    container = json.loads(own.read_text())
    assert container["exit_code"] == 7 and container["ended"] and container["case"]
    (timeout,) = commands_of(case_of(folder, "shot_timeout")[1]["shot_timeout"])[-1:]
    assert timeout["error"].startswith("CommandTimeoutError: ")


def test_commands_elsewhere(run: Run, folder: Path) -> None:
    """The engine's commands are recorded with the container's, also in a foreign container."""
    _, found = case_of(folder, "shot_elsewhere")
    foreign, own = found.values()
    assert [x["argv"] for x in commands_of(foreign)] == [["echo", "by hand"], ["echo", "by its id"]]
    assert [x["command"] for x in commands_of(own)] == ["echo elsewhere", "echo here >/kept"]
    assert own.name == "shot_elsewhere"


def test_replaced(run: Run, folder: Path) -> None:
    """A container that replaces a dead one belongs to the case, too."""
    _, found = case_of(folder, "idle_prepared")
    assert len(found) == 2
    for path in found.values():
        assert "cat /early" in (path / "commands.jsonl").read_text(encoding="utf-8")


def test_untouched(run: Run, folder: Path) -> None:
    """No container starts for a case that asks for none, and only one for those that do."""
    (case,) = folder.glob("log/*/*/tests/*-idle_untouched")
    assert not (case / "case.json").exists()
    found = [json.loads(x.read_text()) for x in folder.glob("log/*/*/containers/*/container.json")]
    hosts = [each["config"].get("hostname") for each in found if each["suite"] == "Idle"]
    assert hosts.count("suite") == 2, "one of the suite, one of the decorated case"
    # Containers that were removed by other means, such as a lease, have no known end.
    assert all(each["ended"] for each in found if each["suite"] != "Shots")


def test_history(run: Run, folder: Path) -> None:
    with Index(next(folder.glob("**/lisa_container.sqlite")).parent) as index:
        history = History(index)
        commands = {case.name: case.commands for case in history.cases(history.run("last"))}
    assert commands.pop("idle_untouched") == 0
    assert all(commands.values()), commands


def test_kept(machine: SandboxNode, tmp_path: Path) -> None:
    """All containers of a failed case are kept."""
    content = runbook([as_runbook(machine)], "own_failed", keep_environment="failed")
    run = run_lisa(content, tmp_path)
    kept = containers(machine)
    try:
        assert sorted(kept) == ["own_failed", "own_left"], run.output
        for name in kept:
            assert f"exec -it {name} sh" in run.output
    finally:
        machine.run(["docker", "rm", "-f", *kept])


def test_cases_at_once(machine: SandboxNode, tmp_path: Path) -> None:
    """Each of two concurrent cases has the containers of its own threads."""
    content = runbook([], "at_once_.*")
    environments = [{"nodes": [as_runbook(machine, user)]} for user in ("root", "sudo")]
    content.update(environment={"environments": environments}, concurrency=2)
    run = run_lisa(content, tmp_path)
    names = ["at_once_one", "at_once_two"]
    assert run.statuses() == dict.fromkeys(names, "passed"), run.output
    for name in names:
        record, _ = case_of(tmp_path, name)
        assert record["containers"] == [name]
