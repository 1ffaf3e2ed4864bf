"""The examples of the pages that need a node."""

from __future__ import annotations

from pathlib import Path

import pytest
from lisa.node import Node

from tests.support.docs_examples import DOCS, run_page

PAGES = [
    "how_it_works",
    "lease",
    "docker_advanced",
    "tools",
    "ship",
    "build",
    "capture",
    "monitor",
    "chaos",
]


@pytest.mark.parametrize("page", PAGES)
def test_page(page: str, node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(DOCS / f"{page}.md", node=node, nodes=[node])
