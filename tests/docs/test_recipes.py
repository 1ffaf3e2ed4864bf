"""docs/recipes.md: its suite and its examples run."""

from __future__ import annotations

from pathlib import Path

from lisa.node import Node

from lisa_container.platforms.sandbox import SandboxNode
from tests.support.docs_examples import DOCS, examples
from tests.support.nodes import as_runbook
from tests.support.runs import run_lisa, runbook

PAGE = DOCS / "recipes.md"


def test_suite(machine: SandboxNode, tmp_path: Path) -> None:
    (suite,) = [x for x in examples(PAGE) if x.name == "suite"]
    (tmp_path / "my_suites").mkdir()
    (tmp_path / "my_suites" / "recipes.py").write_text(suite.text)
    content = runbook([as_runbook(machine)], "recipe_.*")
    content["extension"] = [{"path": str(tmp_path / "my_suites"), "name": "my_suites"}]
    content["variable"] = [{"name": "mode", "value": "kernel", "is_case_visible": True}]
    run = run_lisa(content, tmp_path / "run")
    cases = ("recipe_run", "recipe_async", "recipe_nodes", "recipe_reboot")
    assert run.statuses() == dict.fromkeys(cases, "passed"), run.output


def test_others(node: Node) -> None:
    names = {"node": node}
    for example in examples(PAGE):
        if example.name != "suite":
            code = "\n" * (example.line - 1) + example.text
            exec(compile(code, str(PAGE), "exec"), names)
