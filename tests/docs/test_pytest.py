"""docs/pytest.md: its tests pass, and it has all options, fixtures and markers."""

from __future__ import annotations

import re
from pathlib import Path

from lisa_container.platforms.sandbox import SandboxNode
from lisa_container.pytest_plugin import fixtures, markers
from lisa_container.pytest_plugin.options import _WITH_INI
from tests.support.docs_examples import DOCS, examples
from tests.support.programs import run

PAGE = DOCS / "pytest.md"


def test_tests(machine: SandboxNode, tmp_path: Path) -> None:
    tests, _ = examples(PAGE)  # tests/plugin/test_vms.py runs the other one
    (tmp_path / "test_first.py").write_text(tests.text)
    node = f"ssh://{machine.username}@{machine.address}:{machine.port}"
    words = [
        f"--lisa-node={node}",
        f"--lisa-key={machine.private_key_file}",
        "--lisa-log=log",
        "--basetemp=tmp",
    ]
    done = run("-m", "pytest", "-p", "no:cacheprovider", *words, folder=tmp_path)
    assert "5 passed" in done.stdout, done


def test_page_is_complete() -> None:
    found = set(re.findall(r"`(?:--)?([a-z_-]+)", PAGE.read_text()))
    names = {
        name
        for name in vars(fixtures)
        if hasattr(getattr(fixtures, name), "_pytestfixturefunction")
    }
    public = {name for name in names if not name.startswith("_")}
    assert len(public) == 12
    marks = {re.split(r"[(:]", line)[0] for line in markers.LINES}
    assert public | marks | {"keep-failed", *_WITH_INI} <= found
