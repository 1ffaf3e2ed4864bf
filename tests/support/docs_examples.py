"""Runner of the examples on a documentation page.

A fenced block is an example when its info string has the word `test` after the language:

    ```python test          runs
    ```yaml test runbook    is parsed, and its content is `runbook` in the Python blocks below it
    ```python               is text only, for example because it needs a node

The blocks of one page run from top to bottom in one namespace, like one session. Tracebacks name
the page and the line. A page states results with `assert`, so its reader sees what the test checks.
Sphinx highlights by the first word of an info string and ignores the others.

A test of a page:

    def test_config_page() -> None:
        run_page(DOCS / "config.md")

`run_page(page, host=node)` puts names in the namespace beforehand, for a page that needs a node.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DOCS = Path(__file__).parents[2] / "docs"

_BLOCK = re.compile(
    r"^```(?P<language>\w+) test(?: (?P<name>\w+))?\n(?P<text>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Example:
    """Block of a page: language, name after `test`, text, and line number of the text."""

    language: str
    name: str
    text: str
    line: int


def examples(page: Path) -> list[Example]:
    """Return the examples of a page."""
    content = page.read_text(encoding="utf-8")
    return [
        Example(
            language=match["language"],
            name=match["name"] or "",
            text=match["text"],
            line=content.count("\n", 0, match.start("text")) + 1,
        )
        for match in _BLOCK.finditer(content)
    ]


def run_page(page: Path, **names: Any) -> dict[str, Any]:
    """Run the page's examples and return their namespace; fail if the page has no example."""
    blocks = examples(page)
    assert blocks, f"no example in {page.name}: no block is marked as 'python test' or 'yaml test'"
    for example in blocks:
        where = f"{page.name}, line {example.line}"
        if example.language == "yaml":
            assert example.name, f"{where}: an example in YAML needs a name: 'yaml test <name>'"
            names[example.name] = yaml.safe_load(example.text)
        else:
            assert example.language == "python", f"{where}: can not run {example.language}"
            code = "\n" * (example.line - 1) + example.text
            exec(compile(code, str(page), "exec"), names)
    return names
