"""docs/normalisation.md: its examples run."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lisa_container.platforms.sandbox import SandboxNode
from lisa_container.snapshots import UPDATE_ENVIRONMENT, UPDATE_VARIABLE
from tests.support.docs_examples import DOCS, examples
from tests.support.nodes import as_runbook
from tests.support.runs import Run, run_lisa, runbook

PAGE = DOCS / "normalisation.md"


def test_its_suite(machine: SandboxNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cases of the page's suite fail without a snapshot, make one, pass, and see a change."""
    (suite,) = [x for x in examples(PAGE) if x.name == "suite"]
    (tmp_path / "my_suites").mkdir()
    file = tmp_path / "my_suites" / "outputs.py"
    file.write_text(suite.text)
    snapshot = tmp_path / "my_suites" / "snapshots" / "Outputs" / "listing.txt"

    def run(number: int, is_updating: bool = False) -> Run:
        content = runbook([as_runbook(machine)], "verify_(listing|day)")
        content["extension"] = [{"path": str(tmp_path / "my_suites"), "name": "my_suites"}]
        content["variable"] = [
            {"name": UPDATE_VARIABLE, "value": is_updating, "is_case_visible": True}
        ]
        return run_lisa(content, tmp_path / str(number))

    cases = ("verify_listing", "verify_day")
    missing = run(1)
    assert missing.statuses() == dict.fromkeys(cases, "failed"), missing.output
    assert f"{UPDATE_ENVIRONMENT}=1" in missing.cases["verify_listing"].message
    assert not snapshot.exists()

    made = run(2, is_updating=True)
    assert made.statuses() == dict.fromkeys(cases, "passed"), made.output
    assert f"snapshot 'listing' was made: {snapshot}" in made.output
    assert sorted(x.name for x in snapshot.parent.iterdir()) == ["day.txt", "listing.txt"]
    assert "<tmp 1>\n<timestamp>\n" in snapshot.read_text()

    same = run(3)
    assert same.statuses() == dict.fromkeys(cases, "passed"), same.output
    assert "snapshot 'listing'" not in same.output

    file.write_text(suite.text.replace("touch $d/a", "touch $d/c"))
    differs = run(4)
    assert differs.statuses() == {"verify_listing": "failed", "verify_day": "passed"}, (
        differs.output
    )
    message = differs.cases["verify_listing"].message
    assert "\n-" in message and "\n+" in message and "differs from the output" in message

    monkeypatch.setenv(UPDATE_ENVIRONMENT, "1")
    updated = run(5)
    assert updated.statuses() == dict.fromkeys(cases, "passed"), updated.output
    assert f"snapshot 'listing' was updated: {snapshot}" in updated.output


def test_its_runbook_variable() -> None:
    text = PAGE.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    assert yaml.safe_load(text) == {
        "variable": [{"name": UPDATE_VARIABLE, "value": False, "is_case_visible": True}]
    }
