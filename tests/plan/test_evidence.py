"""Evidence and artifacts of a plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.plans import Run, statuses

EVIDENCE = {"changes.json", "state.json", "inspect.json", "container.log"}


@pytest.mark.parametrize("evidence", ["failure", "never", "always"])
def test_evidence(evidence: str, run: Run, tmp_path: Path) -> None:
    """Evidence of a failed step is from before the clean-up; a passed plan has it if asked for."""
    code = 0 if evidence == "always" else 3
    result = run(
        f"""
    container: {{image: lisa_container/busybox, evidence: {evidence}}}
    steps: [{{name: fails, run: touch /new; exit {code}}}]
    cleanup: [{{name: cleans, run: rm /new}}]
    """,
        folder=tmp_path / "kept",
    )
    assert statuses(result) == {"fails": "failed" if code else "passed", "cleans": "passed"}
    names = {path.name for path in (tmp_path / "kept").iterdir()}
    assert names == {"commands.jsonl", *(EVIDENCE if evidence != "never" else ())}
    if evidence != "never":
        changes = json.loads((tmp_path / "kept" / "changes.json").read_text())
        assert "/new" in [each["path"] for each in changes["added"]]
        state = json.loads((tmp_path / "kept" / "state.json").read_text())
        assert state["reason"] == ("failed steps: fails" if code else "evidence: always")


def test_evidence_of_a_file_that_cannot_be_put(run: Run, tmp_path: Path) -> None:
    result = run(
        """
    files: {/etc/hosts/below: x}
    steps: [{name: test, run: "true"}]
    """,
        folder=tmp_path / "kept",
    )
    assert statuses(result) == {"prepare": "failed", "test": "skipped"}
    assert {path.name for path in (tmp_path / "kept").iterdir()} >= EVIDENCE
