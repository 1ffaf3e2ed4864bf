"""docs/sandbox.md: its examples run, and its table agrees with the code."""

from __future__ import annotations

import re
from dataclasses import fields

from lisa_container.platforms.sandbox import SandboxConfig, SandboxNode
from lisa_container.platforms.sandbox.schema import SandboxPlatformSchema
from tests.support.docs_examples import DOCS, run_page

PAGE = DOCS / "sandbox.md"


def _rows() -> dict[str, str]:
    """Return the field table: default by name."""
    text = PAGE.read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \| ", text, re.M))


def test_examples_run() -> None:
    names = run_page(PAGE)
    raw = names["full"]["platform"][0]["sandbox"]
    assert set(raw) == {each.name for each in fields(SandboxPlatformSchema)}
    SandboxPlatformSchema.schema().load(raw)  # type: ignore[attr-defined]


def test_table_has_every_field_and_its_default() -> None:
    rows, default = _rows(), SandboxPlatformSchema()
    assert set(rows) == {each.name for each in fields(SandboxPlatformSchema)}
    told = {"suite", "mirror", "packages", "rootfs", "cache_dir"}
    for name in set(rows) - told:
        value = getattr(default, name)
        shown = rows[name].strip("`")
        assert shown == (str(value).lower() if isinstance(value, bool) else str(value)), name


def test_python_takes_the_same_fields() -> None:
    here = {each.name for each in fields(SandboxConfig)} - {"count", "user"}
    assert here == {each.name for each in fields(SandboxPlatformSchema)} - {"login"}
    text = PAGE.read_text(encoding="utf-8")
    public = {name for name in dir(SandboxNode) if not name.startswith("_")}
    public |= {each.name for each in fields(SandboxNode) if not each.name.startswith("_")}
    assert [name for name in public if f"`{name}" not in text and f".{name}`" not in text] == []
