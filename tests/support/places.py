"""Runs of LISA on this machine alone, which take a second."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support import programs
from tests.support.programs import CLI, LISA, Program

SUITES = Path(__file__).parents[1] / "artifacts" / "suites"
PASSWORD = "correct-horse"


@dataclass(frozen=True)
class Place:
    """Folder with LISA's logs.

    Args:
        folder: an empty folder.
    """

    folder: Path

    @property
    def log(self) -> Path:
        """Folder in which LISA makes a folder for each run."""
        return self.folder / "log"

    def start(self, cases: str, times: int = 1, **variables: Any) -> Program:
        """Start a run.

        Args:
            cases: regular expression of the cases to run.
            times: number of runs of each case.
            variables: variables of the runbook, visible to cases.
        """
        known = [{"name": "password", "value": PASSWORD, "is_secret": True}]
        known += [{"name": name, "value": value} for name, value in variables.items()]
        runbook = self.folder / f"{len(list(self.folder.glob('*.yml')))}.yml"
        content = {
            "name": "plain",
            "extension": [{"path": str(SUITES), "name": "suites_of_artifacts"}],
            "variable": [{**each, "is_case_visible": True} for each in known],
            "environment": {"environments": [{"nodes": [{"type": "local"}]}]},
            "platform": [{"type": "ready"}],
            "testcase": [{"criteria": {"name": cases}, "times": times}],
        }
        runbook.write_text(yaml.safe_dump(content), encoding="utf-8")
        folders = ["-l", str(self.log), "-w", str(self.folder / "working")]
        environment = {"PYTHONDONTWRITEBYTECODE": "1"}
        return Program(*LISA, "-r", runbook, *folders, environment=environment)

    def run(self, cases: str, times: int = 1, **variables: Any) -> int:
        """Run to the end; return the exit code."""
        return self.start(cases, times, **variables).wait(120)

    def history(self, *words: str, is_good: bool = True) -> str:
        """Run `lisa-container history`; return its stdout, or its stderr if it must fail."""
        done = programs.run(*CLI, "history", *words, "--log", self.log)
        assert done.returncode == (0 if is_good else 2), done.stdout + done.stderr
        return done.stdout if is_good else done.stderr
