"""`lisa-container plan run`, as a person would."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from boxes import eventually, processes
from runners import left

from lisa_container.platforms.sandbox import SandboxNode

ROOT = Path(__file__).parents[2]

PLAN = """
container: {image: lisa_container/busybox}
steps:
  - {name: first, run: cd /etc; echo x > /tmp/log}
  - {name: second, run: pwd, expect: {stdout: /etc}}
artifacts: [/tmp/log, /none]
"""


def words(machine: SandboxNode, path: Path, *more: str) -> list[str]:
    """The command line."""
    target = [f"{machine.username}@{machine.address}", "-i", str(machine.private_key_file)]
    return [sys.executable, "-m", "lisa_container.cli", "plan", "run", str(path), *target, *more]


def run(machine: SandboxNode, path: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words(machine, path, *more), capture_output=True, text=True, timeout=120, cwd=ROOT
    )


def test_run(machine: SandboxNode, tmp_path: Path) -> None:
    """Each step is told, artifacts are kept, and nothing is left on the node."""
    path = tmp_path / "mine.yml"
    path.write_text(PLAN)
    done = run(machine, path, "--artifacts", str(tmp_path / "kept"))
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["passed", "first"],
        ["passed", "second"],
    ]
    assert "warning: artifacts: nothing to collect at '/none'" in done.stderr
    assert (tmp_path / "kept" / "mine" / "files" / "tmp" / "log").read_text() == "x\n"
    assert left(machine) == []

    path.write_text(PLAN.replace("stdout: /etc", "stdout: /srv"))
    done = run(machine, path)
    assert done.returncode == 1, done.stderr
    assert "failed  second (" in done.stdout
    assert "    stdout: expected '/srv', but it is '/etc'\n" in done.stdout
    assert left(machine) == []

    path.write_text(PLAN.replace("steps", "step"))
    done = run(machine, path)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{path}, line 3: unknown field: given 'step'" in done.stderr


def test_interrupted(machine: SandboxNode, tmp_path: Path) -> None:
    """Ctrl-C: the command is killed, clean-up runs, and nothing is left."""
    path = tmp_path / "mine.yml"
    cleanup = "cleanup: [{name: cleans, run: pwd}]\n"
    path.write_text(PLAN.replace("cd /etc", "sleep 4245") + cleanup)
    process = subprocess.Popen(
        words(machine, path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    eventually(lambda: processes(machine, "sleep 4245"), 60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "interrupted\n")
    assert out.startswith("passed  cleans (")
    assert processes(machine, "sleep 4245") == []
    assert left(machine) == []
