"""A real `lisa -r` with the runbook of docs/registries.md; and the page's other examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.docs_examples import DOCS, examples, run_page
from tests.support.nodes import as_runbook
from tests.support.registries import PASSWORD, USER, Shelf
from tests.support.runs import run_lisa, runbook

PAGE = DOCS / "registries.md"
SUITES = Path(__file__).parent / "suites"


def content_of(shelf: Shelf, folder: Path, **changes: str) -> dict[str, Any]:
    """Return a runbook with the page's settings, for the registry of the tests."""
    (text,) = [each.text for each in examples(PAGE) if each.name == "settings"]
    text = text.replace("registry.example.com:5000/library", f"{shelf.private}/team")
    text = text.replace("registry.example.com:5000", shelf.private)
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "ca.pem").write_text(shelf.ca.read_text())
    content = runbook([as_runbook(shelf.machine)], "stocked_.*")
    content["extension"] = [{"path": str(SUITES), "name": "suites_of_registries"}]
    ours = yaml.safe_load(text)
    return {**content, **ours, "notifier": [*ours["notifier"], {"type": "junit"}, {"type": "html"}]}


def test_run(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of the run has the password."""
    monkeypatch.setenv("S_LISA_REGISTRY_PASSWORD", PASSWORD)
    run = run_lisa(content_of(shelf, tmp_path), tmp_path, {"registry_user": USER})
    assert run.statuses() == {"stocked_by_a_mirror": "passed", "stocked_nowhere": "failed"}, (
        run.output
    )
    assert f"is from mirror '{shelf.private}/team/tool:2'" in run.output
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 5
    for path in written:
        text = path.read_text(encoding="utf-8", errors="replace")
        for word in (PASSWORD, "word's", "$HOME \\"):
            assert word not in text, path
    assert shelf.machine.run("ls /etc/docker/certs.d", check=False).returncode != 0


def test_password_in_the_runbook(shelf: Shelf, tmp_path: Path) -> None:
    """A plain password in the runbook, which LISA logs, is masked."""
    content = content_of(shelf, tmp_path)
    content["notifier"][1]["registries"][0].update(username=USER, password=PASSWORD)
    run = run_lisa(content, tmp_path)
    assert run.statuses()["stocked_by_a_mirror"] == "passed", run.output
    for path in (tmp_path / "log").rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            assert "word's" not in text and "$HOME" not in text, path
    assert "word's" not in run.output


def test_wrong_key(shelf: Shelf, tmp_path: Path) -> None:
    """A wrong key of the settings ends the run before a node is used."""
    run = run_lisa(content_of(shelf, tmp_path, username="user"), tmp_path)
    assert run.exit_code != 0 and not run.cases
    assert (
        "registries[0]: unknown field: given 'user'; did you mean 'username'? (legal: host, username"
        in run.output
    )
    assert "initializing node" not in run.output


def test_page() -> None:
    run_page(PAGE)
