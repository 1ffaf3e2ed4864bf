"""Test the artifacts that `lisa -r` writes beside its log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import as_runbook, containers
from tests.support.runs import LisaProcess, Run, commands_of, run_lisa, runbook

# Also of a file that was collected: it is text.
SECRET = "container-secret"

# A killed run leaves its lease for a minute.
pytestmark = pytest.mark.own_node


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def run(folder: Path, machine: SandboxNode) -> Iterator[Run]:
    names = "(captured_(?!forever).*|alone_(timeout|always))"
    finished = run_lisa(runbook([as_runbook(machine)], names), folder)
    assert finished.statuses() == {
        "captured_passed": "passed",
        "captured_failed": "failed",
        "captured_skipped": "skipped",
        "captured_died": "failed",
        "captured_timeout": "failed",
        "alone_timeout": "failed",
        "alone_always": "passed",
    }, finished.output
    yield finished


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


class Case:
    """Artifacts of a case with one container."""

    def __init__(self, folder: Path, name: str) -> None:
        (self.folder,) = folder.glob(f"log/*/*/tests/*-{name}")
        self.record = read(self.folder / "case.json")
        (container,) = self.record["containers"]
        self.container = self.folder / "containers" / container

    def files(self) -> list[str]:
        found = [path for path in self.container.rglob("*") if path.is_file()]
        return sorted(str(path.relative_to(self.container)) for path in found)

    def texts(self) -> list[str]:
        return [record["command"] for record in commands_of(self.container)]


EVIDENCE = ["changes.json", "commands.jsonl", "container.log", "inspect.json", "state.json"]


def test_run_and_containers(run: Run, folder: Path) -> None:
    (root,) = folder.glob("log/*/*/containers")
    record = read(root / "run.json")
    assert (record["format"], record["run"]) == (1, root.parent.name)
    assert set(record["versions"]) == {"lisa_container", "lisa", "python"}
    found = {path.parent.name: read(path) for path in root.glob("*/container.json")}
    shared = found[Case(folder, "captured_failed").container.name]
    own = found[Case(folder, "alone_timeout").container.name]
    assert (shared["suite"], shared["case"]) == ("Captured", "")
    assert (own["suite"], own["case"]) == (
        "CapturedPlain",
        Case(folder, "alone_timeout").record["id"],
    )
    assert shared["engine"].startswith("docker ")
    assert len(shared["id"]) == 64
    assert shared["image_id"].startswith("sha256:")
    assert shared["config"]["artifacts"] == ["/kept/**/*.log"]
    assert all(each["started"] < each["ended"] for each in found.values())
    died = found[Case(folder, "captured_died").container.name]
    assert (died["exit_code"], died["oom_killed"]) == (137, False)


def test_passed(run: Run, folder: Path) -> None:
    """A passed case has its commands and the requested files."""
    case = Case(folder, "captured_passed")
    assert (case.record["status"], case.record["name"]) == ("passed", "captured_passed")
    assert case.files() == ["commands.jsonl", "files/kept/a/1.log"]
    assert case.texts()[-1] == "rm -rf /kept", "of after_case"
    assert len(case.texts()) == 3, "none of another case"
    assert Case(folder, "captured_skipped").files() == ["commands.jsonl"]


def test_failed(run: Run, folder: Path) -> None:
    """A failed case has all evidence, and one line of the log names its folder."""
    case = Case(folder, "captured_failed")
    assert case.record["status"] == "failed"
    assert "unexpected exit code" in case.record["message"]
    assert case.files() == sorted([*EVIDENCE, "files/kept/b/2.log"])
    lines = [line for line in run.output.splitlines() if str(case.container) in line]
    assert len(lines) == 1
    assert "evidence of container" in lines[0]
    state = read(case.container / "state.json")
    assert (state["running"], state["problems"]) == (True, [])
    assert state["files"] == ["files/kept/b/2.log"]
    assert "unexpected exit code" in state["reason"]
    changes = read(case.container / "changes.json")
    added = {each["path"]: each for each in changes["added"]}
    assert set(added) == {"/kept", "/kept/b", "/kept/b/2.log", "/kept/b/2.txt", "/new"}
    assert added["/new"]["mode"] == "0640"
    assert [each["path"] for each in changes["changed"]] == ["/before"]
    assert changes["deleted"] == ["/gone"]
    assert changes["filtered"] == {"engine": 1, "quiet": 1}, "by the suite's own rules"


def test_died(run: Run, folder: Path) -> None:
    """Evidence is taken even if the container died before the case's end."""
    case = Case(folder, "captured_died")
    assert case.files() == sorted([*EVIDENCE, "files/kept/c/3.log"])
    state = read(case.container / "state.json")
    assert (state["running"], state["exit_code"], state["problems"]) == (False, 137, [])
    added = [each["path"] for each in read(case.container / "changes.json")["added"]]
    assert added == ["/kept", "/kept/c", "/kept/c/3.log"]
    last = commands_of(case.container)[-1]
    assert last["error"].startswith("ContainerDiedError: ")
    assert last["stdout"]["text"] == "last words\n"


@pytest.mark.parametrize("name", ["captured_timeout", "alone_timeout"])
def test_timeout(name: str, run: Run, folder: Path) -> None:
    """Evidence is taken although LISA raises its exception repeatedly and removes the container."""
    case = Case(folder, name)
    assert case.record["status"] == "failed"
    assert case.files() == EVIDENCE
    assert read(case.container / "state.json")["problems"] == []
    last = commands_of(case.container)[-1]
    assert last["error"] == "FunctionTimedOut: the time of the case was up"
    assert last["stdout"]["text"] == "begun\n"


def test_always(run: Run, folder: Path) -> None:
    case = Case(folder, "alone_always")
    assert (case.record["status"], case.files()) == ("passed", EVIDENCE)
    assert [each["path"] for each in read(case.container / "changes.json")["added"]] == ["/file"]


def test_no_secret(run: Run, folder: Path) -> None:
    """No artifact contains a secret. (LISA's own logs have the unmasked text of an assertion.)"""
    found = [path for path in folder.rglob("*") if path.is_file() and "containers" in path.parts]
    found += folder.rglob("case.json")
    assert [path for path in found if SECRET.encode() in path.read_bytes()] == []
    assert any(b"***" in path.read_bytes() for path in found if path.name == "2.log")


def test_guests(machine: SandboxNode, tmp_path: Path) -> None:
    """Stock cases on a guest are recorded by LISA's reports, which may come late."""
    guest = {"type": "container", "image": "lisa_container/busybox", "artifacts": ["/failed"]}
    content = runbook([as_runbook(machine)], "stock_.*", guest_enabled=True, guests=[guest])
    content["notifier"].append({"type": "slow"})
    done = run_lisa(content, tmp_path)
    statuses = {"stock_passed": "passed", "stock_failed": "failed", "stock_closed": "passed"}
    assert done.statuses() == statuses, done.output
    passed, failed, closed = (Case(tmp_path, name) for name in statuses)
    assert [case.record["status"] for case in (passed, failed, closed)] == [*statuses.values()]
    assert "state.json" not in passed.files()
    assert any("/passed" in text for text in passed.texts())
    assert failed.files() == sorted([*EVIDENCE, "files/failed"])
    assert any("/failed" in text for text in failed.texts())
    assert any("echo after" in text for text in closed.texts())
    # Commands of LISA between two cases are recorded with the container.
    between = "echo connected"
    assert not any(between in case.texts()[-1] for case in (passed, failed, closed))
    (own,) = tmp_path.glob(f"log/*/*/containers/{failed.container.name}")
    assert between in [record["command"] for record in commands_of(own)]
    added = [each["path"] for each in read(failed.container / "changes.json")["added"]]
    assert added == ["/failed"]
    assert "unexpected exit code" in read(failed.container / "state.json")["reason"]


def test_killed(machine: SandboxNode, tmp_path: Path) -> None:
    """After kill -9 of the runner, the records so far can be read."""
    lisa = LisaProcess(runbook([as_runbook(machine)], "captured_forever"), tmp_path)
    try:
        lisa.wait_for(
            lambda: any('"running"' in x.read_text() for x in tmp_path.rglob("commands.jsonl"))
        )
    finally:
        lisa.process.kill()
        lisa.process.wait()
        for container in containers(machine, "{{.ID}}"):
            machine.run(["docker", "rm", "-f", container])
    case = Case(tmp_path, "captured_forever")
    assert (case.record["status"], case.record["ended"]) == ("", "")
    short, running = commands_of(case.container)
    assert (short["state"], short["stdout"]["text"]) == ("ended", "short\n")
    assert (running["state"], running["command"]) == ("running", "echo begun; sleep 4244")
    for path in tmp_path.glob("log/*/*/containers/**/*.json"):
        read(path)
