"""docs/plans.md: its plan runs, and its mistakes are reported."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from lisa.node import Node

from lisa_container.plan.model import FileCheck, JsonCheck, Plan, Step
from tests.support.docs_examples import DOCS, examples, run_page

PAGE = DOCS / "plans.md"


def test_page(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"plan": "sort.yml", "wrong": "wrong.yml"}
    for example in examples(PAGE):
        if example.language == "yaml":
            (tmp_path / files.pop(example.name)).write_text(example.text)
    assert not files
    monkeypatch.chdir(tmp_path)
    run_page(PAGE, node=node)


@pytest.mark.parametrize("kind", [Plan, Step, FileCheck, JsonCheck])
def test_page_has_all_fields(kind: type) -> None:
    """The page has all fields of the model."""
    page = PAGE.read_text()
    fields = {each.name for each in dataclasses.fields(kind)}
    assert fields <= set(re.findall(r"`([a-z_0-9]+)`", page))
