"""Test plans of commands that `lisa -r` runs: each step is a result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lisa_container.history import History, Index
from lisa_container.plan import load_plan
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import containers
from tests.support.runs import ROOT, LisaProcess, run_lisa

RUNBOOKS = ROOT / "runbooks"
PLANS = ROOT / "testsuites" / "plans"
CASE = "verify_cli_plans"


def step_names(path: Path) -> list[str]:
    """Return the names of the results of a plan's steps."""
    plan = load_plan(path)
    return [f"{plan.name}/{step.name}" for step in plan.all_steps()]


def test_runbook(tmp_path: Path) -> None:
    """runbooks/cli_tools.yml: three plans pass, each step a result, their artifacts kept."""
    run = run_lisa(RUNBOOKS / "cli_tools.yml", tmp_path, timeout=600)
    assert run.exit_code == 0, run.output
    names = [name for plan in PLANS.glob("*.yml") for name in step_names(plan)]
    assert len(names) > 20 and "jq/values" in names
    assert run.statuses() == dict.fromkeys([CASE, *names], "passed"), run.output
    for plan, kept in (("jq", "data/first.json"), ("yamllint", "work/report.txt")):
        (found,) = tmp_path.glob(f"log/**/*{CASE}/containers/lisa_test_{plan}_*/files/{kept}")
        assert found.stat().st_size
    with Index(tmp_path / "log") as index:
        history = History(index)
        last = history.run("last")
        case, *steps = history.cases(last)
        assert [step.name for step in steps] == names
        assert case.image == "lisa_container/debian"
        assert case.commands > 15
        assert {"jq", "ripgrep", "yamllint"} == {tool.name for tool in history.tools(last)}


def start_on(machine: SandboxNode, folder: Path, plans: str, runbook: Any = None) -> LisaProcess:
    """Start plans on a running node, with the runbook for that unless another is given."""
    variables = {
        "address": machine.address,
        "port": machine.port,
        "username": machine.username,
        "key": machine.private_key_file,
        "area": "cli",
        "plans": plans,
    }
    return LisaProcess(runbook or RUNBOOKS / "remote.yml", folder, variables)


@pytest.mark.usefixtures("nothing_left")
def test_broken_on_purpose(machine: SandboxNode, tmp_path: Path) -> None:
    """A plan with a wrong expectation fails, and the message has the actual output."""
    text = (PLANS / "jq.yml").read_text(encoding="utf-8")
    assert text.count('"[1815,1906]"') == 1
    broken = tmp_path / "broken.yml"
    broken.write_text(text.replace('"[1815,1906]"', '"[1815,1907]"'), encoding="utf-8")
    run = start_on(machine, tmp_path / "run", str(broken)).wait()
    assert run.exit_code != 0
    expected = dict.fromkeys(step_names(broken), "skipped")
    expected |= {
        CASE: "failed",
        "jq/go to the data": "passed",
        "jq/version": "passed",
        "jq/values": "failed",
    }
    assert run.statuses() == expected, run.output
    assert "expected '[1815,1907]', but it is '[1815,1906]'" in run.cases["jq/values"].message
    case = run.cases[CASE].message
    assert "1 of 9 steps failed" in case and "jq/values: stdout: expected" in case
    assert "step 'values' failed" in run.cases["jq/into a file"].message


@pytest.mark.usefixtures("nothing_left")
def test_mistakes(machine: SandboxNode, tmp_path: Path) -> None:
    """If one plan has a mistake, no plan runs, and nothing is created on the node."""
    right, wrong = tmp_path / "right.yml", tmp_path / "wrong.yml"
    right.write_text("container: {image: lisa_container/busybox}\nsteps: [{name: a, run: pwd}]\n")
    wrong.write_text(right.read_text().replace("pwd", "pwd, expct: {stdout: /}"))
    before = containers(machine)
    run = start_on(machine, tmp_path / "run", f"{tmp_path}/*.yml").wait()
    assert run.statuses() == {CASE: "failed"}, run.output
    assert f"{wrong}:2: steps[0], unknown field: given 'expct'" in run.cases[CASE].message
    assert "did you mean 'expect'?" in run.cases[CASE].message
    assert containers(machine) == before and "started container" not in run.output


@pytest.mark.usefixtures("nothing_left")
def test_interrupted(machine: SandboxNode, tmp_path: Path) -> None:
    """Ctrl-C kills the command; artifacts are kept, clean-up runs, the container is removed."""
    plan = tmp_path / "plan.yml"
    plan.write_text(
        "container: {image: lisa_container/busybox}\n"
        "steps: [{name: hangs, run: touch /tmp/kept; sleep 4244}, {name: next, run: pwd}]\n"
        "cleanup: [{name: cleans, run: ps -o args, expect: {stdout: {not_contains: sleep 4244}}}]\n"
        "artifacts: [/tmp/kept]\n"
    )
    lisa = start_on(machine, tmp_path / "run", str(plan))
    lisa.wait_for(lambda: "sleep 4244" in machine.run("ps -eo args").stdout)
    lisa.interrupt()
    run = lisa.wait(60)
    assert "InterruptedRunError" in run.output
    assert "plan 'plan', step 'cleans': passed" in run.output
    assert list(tmp_path.glob("run/log/**/containers/lisa_test_plan_*/files/tmp/kept"))
    assert "sleep 4244" not in machine.run("ps -eo args").stdout


def test_kept(machine: SandboxNode, tmp_path: Path) -> None:
    """With `keep_environment: failed`, only the container of a failed plan stays."""
    good, bad = tmp_path / "1.yml", tmp_path / "2.yml"
    good.write_text("container: {image: lisa_container/busybox}\nsteps: [{name: a, run: pwd}]\n")
    bad.write_text(good.read_text().replace("pwd", "touch /tmp/seen; exit 3"))
    runbook = yaml.safe_load((RUNBOOKS / "remote.yml").read_text())
    runbook["platform"][0]["keep_environment"] = "failed"
    runbook["extension"][0]["path"] = str(ROOT / "testsuites")
    run = start_on(machine, tmp_path / "run", f"{good},{bad}", runbook).wait()
    (kept,) = containers(machine)
    try:
        assert run.statuses() == {"1/a": "passed", "2/a": "failed", CASE: "failed"}, run.output
        machine.run(["docker", "exec", kept, "test", "-e", "/tmp/seen"])
        assert f"exec -it {kept} sh" in run.output
    finally:
        machine.run(["docker", "rm", "-f", kept])
        machine.run("rm -rf /var/tmp/lisa_container_kept.*")  # else only the next run's sweep does
