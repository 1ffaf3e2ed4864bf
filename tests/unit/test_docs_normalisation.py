"""docs/normalisation.md: its examples run, and its table has the rules there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lisa_container.snapshots.normalise import BUILT_IN
from tests.support.docs_examples import DOCS, examples

PAGE = DOCS / "normalisation.md"


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    found = [example for example in examples(PAGE) if example.name != "suite"]
    assert len(found) == 4
    for example in found:
        exec(compile("\n" * (example.line - 1) + example.text, str(PAGE), "exec"), names)
    assert list(tmp_path.iterdir()) == []


def test_table_has_the_rules_in_order() -> None:
    content = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| .* \| (.*) \|$", content, re.M)
    assert [name for name, _ in rows] == list(BUILT_IN.names)
    for rule, (_, becomes) in zip(BUILT_IN, rows):
        if becomes.startswith("`"):
            assert becomes in (f"`<{rule.placeholder}>`", f"`<{rule.placeholder} 1>`")
