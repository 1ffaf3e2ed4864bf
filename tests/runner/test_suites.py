"""Test suites in containers with the real `lisa -r` on a real node over SSH."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lisa_container.history import History, Index
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import as_runbook, containers
from tests.support.runs import LisaProcess, run_lisa, runbook

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.mark.sampled(1)
@pytest.mark.parametrize("user", ["root", "sudo", "password"])
def test_cases_share_a_container(user: str, machine: SandboxNode, tmp_path: Path) -> None:
    """A suite has one container, or with scope `case` a fresh one for each case."""
    run = run_lisa(runbook([as_runbook(machine, user)], "(shared|fresh|plain)_.*"), tmp_path)
    assert run.statuses() == dict.fromkeys(
        [
            *("shared_first", "shared_second", "shared_bare", "shared_other"),
            *("shared_killed", "shared_replaced", "fresh_first", "fresh_second"),
            *("plain_below", "plain_above", "plain_without_node"),
        ],
        "passed",
    ), run.output
    assert run.exit_code == 0
    assert run.output.count("after_case had the container") == 2, run.output
    assert machine.password not in run.output


def test_two_nodes(tmp_path: Path) -> None:
    """Containers on two nodes start at the same time; a decorated case has one on each node."""
    content = runbook([], "two_nodes.*")
    del content["environment"]
    content["platform"] = [{"type": "sandbox"}]
    run = run_lisa(content, tmp_path)
    assert run.statuses() == {"two_nodes": "passed", "two_nodes_inside": "passed"}, run.output


def test_one_of_two_nodes_fails(tmp_path: Path) -> None:
    """A case ends only when the starts on all its nodes have ended, so that none comes later."""
    content = runbook([], "half_.*")
    del content["environment"]
    content["platform"] = [{"type": "sandbox"}]
    run = run_lisa(content, tmp_path)
    assert run.statuses() == {"half_started": "failed", "half_left": "passed"}, run.output
    assert "node 1 is not ready" in run.cases["half_started"].message


def test_endings(machine: SandboxNode, tmp_path: Path) -> None:
    """Failure, timeout, skip and a missing image give a reason, and nothing is left."""
    names = "(ending_(?!interrupted).*|nameless.*)"
    run = run_lisa(runbook([as_runbook(machine)], names), tmp_path)
    assert run.statuses() == {
        "ending_failed": "failed",
        "ending_timeout": "failed",
        "ending_after_timeout": "passed",
        "ending_skipped": "skipped",
        "ending_no_image": "failed",
        "ending_half_way": "failed",
        "nameless": "failed",
        "nameless_decorated": "passed",
    }, run.output
    messages = {name: case.message for name, case in run.cases.items()}
    assert "exit 7" in messages["ending_failed"]
    assert "time out in 3 seconds" in messages["ending_timeout"]
    assert "for this reason" in messages["ending_skipped"]
    assert "no_such_image" in messages["ending_no_image"]
    assert "pull_policy" in messages["ending_no_image"]
    assert "_get_container_config" in messages["nameless"]
    assert run.exit_code == 5


def test_containers_show_during_the_run(machine: SandboxNode, tmp_path: Path) -> None:
    """`docker ps` on the node shows the containers during the run; Ctrl-C removes them.

    The history says that the run was interrupted, and names the cases that did not run.
    """
    names = "(plain_above|ending_interrupted|ending_no_image)"
    lisa = LisaProcess(runbook([as_runbook(machine)], names), tmp_path)
    lisa.wait_for(lambda: any(name.startswith("lisa_test_") for name in containers(machine)))
    lisa.wait_for(lambda: "sleep 4243" in machine.run("ps -eo args").stdout)
    lisa.interrupt()
    run = lisa.wait(60)
    assert "InterruptedRunError" in run.output
    assert "sleep 4243" not in machine.run("ps -eo args").stdout
    with Index(tmp_path / "log") as index:
        history = History(index)
        (last,) = history.runs(9)
        cases = {case.name: case.status for case in history.cases(last)}
        messages = {case.name: case.message for case in history.cases(last)}
    assert (last.state, last.passed, last.failed, last.other) == ("interrupted", 1, 1, 1)
    assert cases == {
        "plain_above": "passed",
        "ending_interrupted": "failed",
        "ending_no_image": "queued",
    }
    assert messages["ending_interrupted"].endswith("the command was killed in its container")
    assert messages["ending_no_image"] == "it did not run"
    assert run.statuses()["ending_interrupted"] == "failed"


@pytest.mark.parametrize("keep", ["failed", "always"])
def test_keep_environment(keep: str, machine: SandboxNode, tmp_path: Path) -> None:
    """The container of a failed case is kept, and the logged command enters it."""
    # LISA runs no further case in an environment that it keeps for a failed case.
    names = "ending_failed" if keep == "failed" else "(ending_failed|shared_first)"
    run = run_lisa(runbook([as_runbook(machine)], names, keep_environment=keep), tmp_path)
    kept = containers(machine)
    try:
        assert run.cases["ending_failed"].status == "failed", run.output
        assert len(kept) == len(run.cases), run.output
        entering = next(line for line in run.output.splitlines() if "enter: ssh" in line)
        command = entering.split("enter: ", 1)[1]
        assert any(f"exec -it {name} sh" in command for name in kept)
        # LISA masks the middle of the user's name in its logs.
        command = re.sub(r"\w\*+\w@", f"{machine.username}@", command)
        options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        result = subprocess.run(
            command.replace("ssh -t", f"ssh -tt {options} -i {machine.private_key_file}", 1),
            shell=True,
            input="echo entered $((40+2)); exit\n",
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert "entered 42" in result.stdout, (command, result)
    finally:
        machine.run(["docker", "rm", "-f", *kept])


def _guest(**settings: Any) -> dict[str, Any]:
    return {"guest_enabled": True, "guests": [{"type": "container", **settings}]}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image": "debian", "memory": "banana"}, ["memory", "banana", "512m"]),
        ({"image": "debian", "volumes": {"relative": "/x/y", "./z": "/z"}}, ["volumes", "./z"]),
        ({"image": "debian", "privilegd": True}, ["privilegd", "privileged"]),
        ({}, ["image"]),
    ],
)
def test_wrong_runbook(
    settings: dict[str, Any], words: list[str], machine: SandboxNode, tmp_path: Path
) -> None:
    """Wrong input fails with the field's name before anything is created."""
    content = runbook([as_runbook(machine)], "plain_above", **_guest(**settings))
    run = run_lisa(content, tmp_path)
    assert run.exit_code != 0
    for word in words:
        assert word in run.output, run.output
    assert not containers(machine)


def test_build_beside_the_runbook(machine: SandboxNode, tmp_path: Path) -> None:
    """A relative context is below the runbook's folder; a missing one fails before anything else."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "marker").write_text("beside the runbook")
    (tmp_path / "images" / "Dockerfile").write_text("FROM lisa_container/busybox\nCOPY marker /\n")
    content = runbook([as_runbook(machine)], "built_guest", **_guest(build="images"))
    run = run_lisa(content, tmp_path)
    assert run.statuses() == {"built_guest": "passed"}, run.output
    with Index(next(tmp_path.glob("**/lisa_container.sqlite")).parent) as index:
        history = History(index)
        (case,) = history.cases(history.run("last"))
    assert case.image.startswith("lisa_container/build:")
    assert "step 2/2: COPY marker /" in run.output

    content = runbook([as_runbook(machine)], "built_guest", **_guest(build={"context": "none"}))
    run = run_lisa(content, tmp_path / "other")
    assert run.exit_code != 0
    assert "build.context" in run.output and "a folder of this machine" in run.output
