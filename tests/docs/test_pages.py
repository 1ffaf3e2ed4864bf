"""The examples of the pages that need a node."""

from __future__ import annotations

import pytest
from docs_examples import DOCS, run_page
from lisa.node import Node

PAGES = ["how_it_works", "lease", "docker_advanced", "tools", "ship", "capture"]


@pytest.mark.parametrize("page", PAGES)
def test_page(page: str, node: Node) -> None:
    run_page(DOCS / f"{page}.md", node=node, nodes=[node])
