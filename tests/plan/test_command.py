"""`lisa-container plan run`, run like a user's."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lisa_container.platforms.sandbox import SandboxNode
from tests.support import programs
from tests.support.boxes import processes
from tests.support.programs import CLI
from tests.support.runners import left
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]

PLAN = """
container: {image: lisa_container/busybox}
steps:
  - {name: first, run: cd /etc; echo x > /tmp/log}
  - {name: second, run: pwd, expect: {stdout: /etc}}
artifacts: [/tmp/log, /none]
"""


def words(machine: SandboxNode, path: Path, *more: str) -> list[str]:
    """Return the command line."""
    more = (*target(machine), *more, "--log", str(path.parent / "log"))
    return [*CLI, "plan", "run", str(path), *more]


def target(machine: SandboxNode) -> list[str]:
    """Return the words that name the node."""
    return [f"{machine.username}@{machine.address}", "-i", str(machine.private_key_file)]


def run(machine: SandboxNode, path: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return programs.run(*words(machine, path, *more), timeout=120, folder=ROOT)


def history(folder: Path, *more: str) -> Any:
    words = (*CLI, "history", *more, "--log", folder / "log", "--json")
    done = programs.run(*words, check=True)
    return json.loads(done.stdout)


def test_run(machine: SandboxNode, tmp_path: Path) -> None:
    """A run prints each step, keeps artifacts, and leaves nothing on the node."""
    path = tmp_path / "mine.yml"
    path.write_text(PLAN)
    done = run(machine, path, "--artifacts", str(tmp_path / "kept"))
    assert done.returncode == 0, done.stderr
    *steps, records = done.stdout.splitlines()
    assert [line.split()[:2] for line in steps] == [["passed", "first"], ["passed", "second"]]
    assert Path(records.removeprefix("records: ")).parents[1] == tmp_path / "log"
    assert "warning: artifacts: nothing to collect at '/none'" in done.stderr
    assert (tmp_path / "kept" / "mine" / "files" / "tmp" / "log").read_text() == "x\n"
    assert left(machine) == []

    (tmp_path / "hello").write_text("#!/bin/sh\necho hello\n")
    path.write_text(PLAN.replace("steps:", "tools: [{name: hello, file: hello}]\nsteps:"))
    done = run(machine, path)
    what = "installing tool 'hello' by release in container '"
    told = [line for line in done.stderr.splitlines() if line.startswith(what)]
    assert (done.returncode, len(told)) == (0, 2), done
    assert told[0].endswith("…") and "done in" in told[1], "a line at its begin, and one at its end"
    machine.run("docker rmi $(docker images -q lisa_container/tools | head -n 1)")  # its layer

    path.write_text(PLAN.replace("stdout: /etc", "stdout: /srv"))
    done = run(machine, path)
    assert done.returncode == 1, done.stderr
    assert "failed  second (" in done.stdout
    assert "    stdout: expected '/srv', but it is '/etc'\n" in done.stdout
    assert left(machine) == []

    failed = Path(done.stdout.splitlines()[-1].removeprefix("records: "))
    (state,) = failed.glob("tests/*-mine/containers/*/state.json")
    assert json.loads(state.read_text())["reason"] == "failed steps: second"

    path.write_text(PLAN.replace("steps", "step"))
    done = run(machine, path)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{path}:3: unknown field: given 'step'" in done.stderr
    checked = programs.run(*CLI, "plan", "check", path, folder=ROOT)
    assert (checked.returncode, checked.stdout, checked.stderr) == (1, "", done.stderr)

    # The runs are in the history, and the run that did not begin is not.
    assert [(each["name"], each["passed"], each["failed"]) for each in history(tmp_path)] == [
        ("mine", 0, 1),
        ("mine", 1, 0),
        ("mine", 1, 0),
    ]
    found = history(tmp_path, "run", "last")
    assert [(each["name"], each["status"]) for each in found["cases"]] == [
        ("mine", "failed"),
        ("mine/first", "passed"),
        ("mine/second", "failed"),
    ]
    assert found["state"] == "ended"
    assert found["cases"][0]["commands"] > 0
    assert found["cases"][0]["duration"] >= found["cases"][1]["duration"] > 0
    assert all(each["name"].startswith("lisa_test_mine_") for each in found["containers"])
    assert [each["kind"] for each in found["artifacts"]].count("file") == 1


def test_kept(machine: SandboxNode, tmp_path: Path) -> None:
    """Each kept container is named with the command to enter it, once, also in the log."""
    path = tmp_path / "mine.yml"
    path.write_text(
        """
        container: {image: lisa_container/busybox, keep_containers: failed}
        steps:
          - {name: alone, isolated: true, run: echo alone >/marker; exit 7}
          - {name: shared, always: true, run: echo shared >/marker; exit 7}
        """
    )
    try:
        done = run(machine, path)
        assert done.returncode == 1, done.stderr
        entered = set()
        kept = [x for x in done.stdout.splitlines() if x.startswith("kept container '")]
        for line in kept:
            name, command = re.findall("kept container '(.+)'; enter: (.+)", line)[0]
            program, *more = shlex.split(command)
            assert (program, more[1]) == ("lisa-container", name)
            entered.add(programs.run(*CLI, *more, input="cat /marker\n", check=True).stdout)
            (log,) = tmp_path.glob("log/*/*/lisa-*.log")
            lines = [x for x in log.read_text().splitlines() if name in x and "enter: " in x]
            assert len(lines) == 1, lines
        assert (len(kept), entered) == (2, {"alone\n", "shared\n"})
    finally:
        programs.run(*CLI, "reap", "--kept", *target(machine), check=True)
    assert left(machine) == []


def test_interrupted(machine: SandboxNode, tmp_path: Path) -> None:
    """Ctrl-C kills the command, each step is printed, clean-up runs, and nothing is left."""
    path = tmp_path / "mine.yml"
    cleanup = "cleanup: [{name: cleans, run: pwd}]\n"
    group = "- parallel: [{name: begins, run: 'true'}, {name: first, run: sleep 4245}]"
    path.write_text(
        PLAN.replace("- {name: first, run: cd /etc; echo x > /tmp/log}", group) + cleanup
    )
    out, err = interrupt(words(machine, path), lambda: processes(machine, "sleep 4245"))
    assert err == "interrupted\n"
    *steps, _ = [line for line in out.splitlines() if not line.startswith(" ")]
    assert [line.partition(" (")[0] for line in steps] == [
        "passed  begins",
        "failed  first",
        "skipped second",
        "passed  cleans",
    ]
    for reason in ("interrupted: Ctrl-C", "step 'first' was interrupted"):
        assert f"\n    {reason}\n" in out
    assert processes(machine, "sleep 4245") == []
    assert left(machine) == []
    (found,) = history(tmp_path)
    assert (found["state"], found["failed"]) == ("interrupted", 1)


def test_interrupted_cleanup(machine: SandboxNode, tmp_path: Path) -> None:
    """A clean-up step that Ctrl-C interrupts is printed, and so are the steps after it."""
    path = tmp_path / "mine.yml"
    cleanup = "cleanup: [{name: cleans, run: sleep 4246}, {name: last, run: pwd}]\n"
    path.write_text(PLAN + cleanup)
    out, err = interrupt(words(machine, path), lambda: processes(machine, "sleep 4246"))
    told = [line.partition(" (")[0] for line in out.splitlines() if not line.startswith(" ")]
    assert told[:-1] == ["passed  first", "passed  second", "failed  cleans", "skipped last"]
    assert err.endswith("interrupted\n")
    assert left(machine) == []


def interrupt(words: list[str], begins: Callable[[], object]) -> tuple[str, str]:
    """Send Ctrl-C to a command once a condition is true; return its output."""
    process = programs.Captured(*words, folder=ROOT)
    eventually(begins, 60)
    process.send_signal(signal.SIGINT)
    done = process.finish()
    assert done.returncode == 130, done.stderr
    return done.stdout, done.stderr
