"""docs/getting_started.md, the first page of a newcomer: its examples run."""

from __future__ import annotations

from pathlib import Path

from lisa.node import Node

from tests.support.docs_examples import DOCS, examples
from tests.support.runs import run_lisa


def test_getting_started(node: Node, tmp_path: Path) -> None:
    suite, runbook, executor = examples(DOCS / "getting_started.md")
    (tmp_path / "my_suites").mkdir()
    (tmp_path / "my_suites" / "first.py").write_text(suite.text)
    (tmp_path / "my_runbook.yml").write_text(runbook.text)
    run = run_lisa(tmp_path / "my_runbook.yml", tmp_path / "run")
    assert run.statuses() == {"verify_command": "passed", "verify_inside": "passed"}, run.output
    exec(compile(executor.text, "getting_started.md", "exec"), {"node": node})
