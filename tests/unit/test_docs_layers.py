"""docs/testing.md: its table of layers is the contract in pyproject.toml, and its paths exist."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.docs_examples import DOCS

ROOT = Path(__file__).parents[2]
PAGE = (DOCS / "testing.md").read_text(encoding="utf-8")


def _rows(heading: str) -> list[list[str]]:
    """Return the cells of a table's rows, found by the first cell of its heading."""
    table = re.search(rf"^\| {heading} \|.*\n\| -.*\n((?:\|.*\n)+)", PAGE, re.M)
    assert table, heading
    return [line.strip("| ").split(" | ") for line in table[1].splitlines()]


def test_layers_are_those_of_the_contract() -> None:
    contract = re.search(
        r"^layers = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.M | re.S
    )
    assert contract
    layers = [layer.split(" : ") for layer in re.findall(r'"(.*)"', contract[1])]
    assert [re.findall(r"`(\w+)`", row[0]) for row in _rows("layer")] == layers


def test_files_of_the_code_exist() -> None:
    package = ROOT / "lisa_container"
    paths = [
        path for row in _rows("question") for path in re.findall(r"`([\w/*.]+/[\w*.]*)`", row[1])
    ]
    assert len(paths) > 8
    assert [path for path in paths if not list(package.glob(path.rstrip("/")))] == []


def test_folders_of_tests_are_all_named() -> None:
    named = [name for row in _rows("folder of `tests`") for name in re.findall(r"`(\w+)`", row[0])]
    there = [
        path.name
        for path in (ROOT / "tests").iterdir()
        if path.is_dir() and path.name[0] not in "_."
    ]
    assert sorted(named) == sorted(there)
