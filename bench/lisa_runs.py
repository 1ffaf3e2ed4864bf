"""Run the suites of this folder with `lisa -r`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from bench.stage import Stage

_ROOT = Path(__file__).parent.parent
_LISA = shutil.which("lisa", path=str(Path(sys.executable).parent)) or "lisa"
_TIMEOUT = 1800


def run_suite(
    stage: Stage, suite: str, cases: int, record: Path | None = None, **platform: Any
) -> list[float]:
    """Run a suite on the stage's node, as a user with sudo.

    Args:
        stage: stage with the node.
        suite: name of a suite in `suites/cases.py`.
        cases: number of cases.
        record: file to which each case appends a line when it starts; None uses a temporary file.
        **platform: settings of the runbook's platform.

    Returns:
        The seconds from the start of each case to the start of the next.

    Raises:
        AssertionError: not all cases passed.
    """
    with tempfile.TemporaryDirectory(dir=stage.folder) as name:
        folder = Path(name)
        runbook, record = folder / "runbook.yml", record or folder / "record"
        runbook.write_text(yaml.safe_dump(_runbook(stage, suite, platform)), encoding="utf-8")
        words = [_LISA, "-r", str(runbook), "-l", str(folder / "log"), "-w", str(folder / "work")]
        paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            env={
                **os.environ,
                "BENCH_CASES": str(cases),
                "BENCH_RECORD": str(record),
                "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            },
        )
        assert done.returncode == 0, f"{done.stdout[-4000:]}{done.stderr[-4000:]}"
        begins = [float(line) for line in record.read_text(encoding="utf-8").split()]
    assert len(begins) == cases, f"{len(begins)} cases ran, expected {cases}"
    return [later - earlier for earlier, later in zip(begins, begins[1:])]


def _runbook(stage: Stage, suite: str, platform: dict[str, Any]) -> dict[str, Any]:
    login = stage.user
    node = {
        "type": "remote",
        "public_address": login.address,
        "public_port": login.port,
        "username": login.username,
        "private_key_file": str(login.key),
    }
    return {
        "name": "bench",
        "extension": [{"path": str(_ROOT / "bench" / "suites"), "name": "suites_of_the_bench"}],
        "environment": {"environments": [{"nodes": [node]}]},
        "platform": [{"type": "ready", **platform}],
        # The exit code reports failed cases.
        "testcase": [{"criteria": {"name": f"{suite.lower()}_.*"}}],
    }
