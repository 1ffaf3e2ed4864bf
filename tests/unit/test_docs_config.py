"""docs/config.md: its examples run, and its tables agree with the code."""

import re
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import yaml

from lisa_container.config import ContainerTestConfig
from lisa_container.config.limits import _RLIMITS
from lisa_container.config.mounts import _OPTIONS, _TMPFS_FLAGS, _TMPFS_KEYS
from lisa_container.config.privileges import _SECURITY_OPTIONS
from tests.support.docs_examples import DOCS, examples, run_page

PAGE = DOCS / "config.md"


def _rows() -> dict[str, list[str]]:
    """Return the rows of the field tables: name to the cells behind it."""
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    return {name: [cell.strip() for cell in cells.split(" | ")] for name, cells in rows}


def test_examples_run() -> None:
    names = run_page(PAGE)
    assert isinstance(names["config"], ContainerTestConfig)


def test_example_names_most_fields() -> None:
    config, default = run_page(PAGE)["config"], ContainerTestConfig()
    same = [f.name for f in fields(config) if getattr(config, f.name) == getattr(default, f.name)]
    assert same == ["build"], "it cannot stand beside an image"


def test_table_has_every_field() -> None:
    assert sorted(_rows()) == sorted(each.name for each in fields(ContainerTestConfig))


@pytest.mark.parametrize("each", fields(ContainerTestConfig), ids=lambda each: str(each.name))
def test_table_has_the_default(each: Any) -> None:
    default = each.default.value if isinstance(each.default, Enum) else each.default
    written = _rows()[each.name][2]
    if default in ("", (), {}, None):
        assert not written.startswith("`"), "in words, what no value means"
    else:
        assert yaml.safe_load(written.strip("`")) == default


@pytest.mark.parametrize("name", [each.name for each in fields(ContainerTestConfig)])
def test_table_has_an_example(name: str) -> None:
    """Each example cell is a legal value in YAML, other than the default."""
    value = yaml.safe_load(_rows()[name][-1].strip("`"))
    assert ContainerTestConfig.from_mapping({name: value}) != ContainerTestConfig()


def test_page_names_all_legal_words() -> None:
    content = PAGE.read_text(encoding="utf-8")
    for word in (*_RLIMITS, *_OPTIONS, *_TMPFS_KEYS, *_TMPFS_FLAGS, *_SECURITY_OPTIONS):
        assert f"`{word}`" in content, word


# --- the extractor itself


def test_examples_are_found_with_their_lines(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n\n```yaml test given\na: 1\n```\n\n```python\nno\n```\n```python test\nx = 1\n```\n"
    )
    assert [(e.language, e.name, e.text, e.line) for e in examples(page)] == [
        ("yaml", "given", "a: 1\n", 4),
        ("python", "", "x = 1\n", 11),
    ]
    assert run_page(page)["given"] == {"a": 1}


def test_a_wrong_example_fails_at_its_line(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A\n\n```python test\nx = 1\nassert x == given\n```\n")
    run_page(page, given=1)
    with pytest.raises(AssertionError) as caught:
        run_page(page, given=2)
    last = caught.traceback[-1]
    assert (Path(last.path).name, last.lineno + 1) == ("page.md", 5)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("```python\nx\n```\n", "no example"),
        ("```yaml test\na: 1\n```\n", "needs a name"),
        ("```go test\nx\n```\n", "can not run go"),
    ],
)
def test_a_page_that_proves_nothing_fails(tmp_path: Path, content: str, words: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(content)
    with pytest.raises(AssertionError, match=words):
        run_page(page)
