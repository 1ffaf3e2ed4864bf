"""Runs of the real `lisa` command, and their reports."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.programs import LISA, Program

ROOT = Path(__file__).parents[2]
SUITES = ROOT / "tests" / "runner" / "suites"


def commands_of(folder: Path) -> list[dict[str, Any]]:
    """Return the records of a container's commands.

    A command that takes more than a second has two lines; the later one replaces the earlier one.

    Args:
        folder: the folder with `commands.jsonl`; without the file there are no records.
    """
    file = folder / "commands.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return list({record["n"]: record for record in map(json.loads, lines)}.values())


@dataclass(frozen=True)
class Case:
    """Case of a run."""

    status: str  # passed, failed or skipped
    message: str
    output: str


@dataclass(frozen=True)
class Run:
    """Finished run."""

    exit_code: int
    output: str
    cases: dict[str, Case]

    def statuses(self) -> dict[str, str]:
        """Return the status of each case by its name."""
        return {name: case.status for name, case in self.cases.items()}


class LisaProcess:
    """Running `lisa -r`.

    Args:
        runbook: a file, or the content of one.
        folder: an empty folder for logs and the working path.
        variables: variables of the runbook.
    """

    def __init__(
        self, runbook: Any, folder: Path, variables: Mapping[str, Any] | None = None
    ) -> None:
        """Start the process."""
        folder.mkdir(parents=True, exist_ok=True)
        if not isinstance(runbook, Path):
            path = folder / "runbook.yml"
            path.write_text(yaml.safe_dump(runbook), encoding="utf-8")
            runbook = path
        self._folder = folder
        self._log = folder / "output.txt"
        words = [*LISA, "-r", runbook, "-l", folder / "log", "-w", folder / "working"]
        for name, value in (variables or {}).items():
            words += ["-v", f"{name}:{value}"]
        with self._log.open("wb") as log:
            self.process = Program(*words, stdout=log, stderr=log, folder=ROOT)

    @property
    def output(self) -> str:
        """Output so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, condition: Callable[[], bool], timeout: float = 60) -> None:
        """Wait until a condition is true, while the run goes on."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert self.process.poll() is None, f"lisa ended too early:\n{self.output}"
            assert time.monotonic() < deadline, f"not in {timeout} seconds:\n{self.output}"
            time.sleep(0.1)

    def interrupt(self) -> None:
        """Send the signal of Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def wait(self, timeout: float = 300) -> Run:
        """Wait for the end of the run; kill it after the time limit."""
        try:
            exit_code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"lisa did not end in {timeout} seconds:\n{self.output}") from None
        return Run(exit_code, self.output, self._cases())

    def _cases(self) -> dict[str, Case]:
        cases = {}
        for report in self._folder.glob("log/**/lisa.junit.xml"):
            if not report.stat().st_size:
                continue
            for element in ElementTree.parse(report).iter("testcase"):
                # LISA appends the case's id; a sub-test's name may have blanks.
                name = element.get("name", "").rpartition(" (")[0]
                kinds = {"failure": "failed", "skipped": "skipped"}
                problems = [(kinds[child.tag], child) for child in element if child.tag in kinds]
                status, child = problems[0] if problems else ("passed", None)
                message = "" if child is None else f"{child.get('message')}\n{child.text}"
                log = element.find("system-out")
                cases[name] = Case(status, message, "" if log is None else log.text or "")
        return cases


def run_lisa(
    runbook: Any,
    folder: Path,
    variables: Mapping[str, Any] | None = None,
    timeout: float = 300,
) -> Run:
    """Run `lisa -r` to its end."""
    return LisaProcess(runbook, folder, variables).wait(timeout)


def runbook(nodes: list[dict[str, Any]], names: str, **platform: Any) -> dict[str, Any]:
    """Return a runbook for the suites of tests/runner on given nodes.

    Args:
        nodes: nodes of the environment.
        names: regular expression of the cases to run.
        platform: settings of the platform.
    """
    return {
        "name": "test",
        "extension": [{"path": str(SUITES), "name": "suites_of_the_tests"}],
        "environment": {"environments": [{"nodes": nodes}]},
        "platform": [{"type": "ready", **platform}],
        "notifier": [{"type": "console"}, {"type": "junit"}],
        "testcase": [{"criteria": {"name": names}}],
    }
