"""Test the index over all runs with runs that have containers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.history import INDEX_NAME
from lisa_container.platforms.sandbox import SandboxNode
from tests.support import programs
from tests.support.nodes import BUSYBOX, as_runbook, connect_as, disconnect
from tests.support.programs import CLI
from tests.support.runs import LisaProcess, runbook

# A killed run leaves its lease for a minute.
pytestmark = pytest.mark.own_node

HELLO = "#!/bin/sh\necho hello {version}\n"


@pytest.fixture(scope="module")
def log(machine: SandboxNode, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the log folder of three runs: the second has another image of the same name and another
    version of the tool; the third is killed while its case runs."""
    folder = tmp_path_factory.mktemp("runs")
    book = runbook([as_runbook(machine)], "followed")
    book["extension"][0]["path"] = str(Path(__file__).parent / "suites")
    node = connect_as(machine, "root")
    node.tools[DockerAdvanced].run_in_container(BUSYBOX, "true")  # makes the image
    disconnect(node)
    for version, is_killed in (("1.0", False), ("2.0", False), ("2.0", True)):
        marker = "true" if version == "1.0" else "touch /marker"
        machine.run(
            f"docker run --name made {BUSYBOX} sh -c '{marker}' && docker commit made followed:1 && "
            "docker rm made"
        )
        tool = folder / f"hello-{version}"
        tool.write_text(HELLO.format(version=version))
        values = {"version": version, "tool": str(tool), "is_killed": is_killed}
        book["variable"] = [
            {"name": name, "value": value, "is_case_visible": True}
            for name, value in values.items()
        ]
        code = LisaProcess(book, folder).process.wait(120)
        assert (code < 0) == is_killed
    machine.run("docker rmi -f followed:1")
    return folder / "log"


def history(log: Path, *words: str) -> Any:
    done = programs.run(*CLI, "history", *words, "--log", log, "--json", check=True)
    return json.loads(done.stdout)


def test_runs(log: Path) -> None:
    found = history(log)
    assert [run["state"] for run in found] == ["cut short", "ended", "ended"]
    assert [run["containers"] for run in found] == [1, 1, 1]
    assert [(run["passed"], run["other"]) for run in found] == [(0, 1), (1, 0), (1, 0)]


def test_one_run(log: Path) -> None:
    run = history(log, "run", "last-1")
    (container,) = run["containers"]
    assert container["image"] == "followed:1"
    assert container["image_id"].startswith("sha256:")
    assert container["engine"].startswith("docker ")
    assert container["started"] < container["ended"]
    (case,) = run["cases"]
    assert case["image"] == "followed:1"
    assert case["commands"] >= 3
    (tool,) = run["tools"]
    assert (tool["name"], tool["version"], tool["manager"]) == ("hello", "2.0", "release")
    kinds = {artifact["kind"]: artifact for artifact in run["artifacts"]}
    assert kinds["file"]["path"].endswith("/files/kept")
    assert kinds["output"]["size"] == 2_000_000
    for artifact in run["artifacts"]:
        assert (log / artifact["path"]).stat().st_size == artifact["size"]


def test_changes(log: Path) -> None:
    found = {change["what"]: change for change in history(log, "diff", "last-2", "last-1")}
    # On a loaded machine a case may also take much longer than before.
    assert set(found) - {"duration"} == {"image", "tool", "command"}
    command = found["command"]
    assert (command["name"], command["before"], command["after"]) == (
        "followed: cat /marker",
        "1",
        "0",
    )
    assert found["tool"]["after"] == "2.0"
    assert found["image"]["name"] == "followed:1"
    assert found["image"]["before"] != found["image"]["after"]


def test_a_killed_run(log: Path) -> None:
    """The index has the commands that ran when the run was killed."""
    run = history(log, "run", "last")
    (case,) = run["cases"]
    assert case["status"] == "running"
    assert case["commands"] >= 3
    (container,) = run["containers"]
    assert not container["ended"]


def test_made_anew(log: Path) -> None:
    """The index can be rebuilt from the files of the runs."""
    before = history(log), history(log, "run", "last-1"), history(log, "run", "last")
    (log / INDEX_NAME).unlink()
    assert (history(log), history(log, "run", "last-1"), history(log, "run", "last")) == before
