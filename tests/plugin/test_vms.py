"""Virtual machines in the pytest plugin: runs of pytest with real ones."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest

from tests.plugin.examples import VM_KILLED, VM_NODE, VMS
from tests.plugin.process import Pytest
from tests.support import programs
from tests.support.docs_examples import DOCS, examples
from tests.support.waiting import eventually

MARK = "LISA_CONTAINER_TEST_RUN"
WORKERS = ("-n", "2", "--dist=loadfile")


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Mark the processes that a test starts by a variable of their environment."""
    programs.run("-c", "pass", check=True)  # their server starts before, without the mark
    monkeypatch.setenv(MARK, str(tmp_path))
    return f"{MARK}={tmp_path}"


def marked(mark: str) -> list[str]:
    """Return the command lines of the running processes with this mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (folder / "environ").read_text(errors="replace").split("\0"):
                found.append((folder / "cmdline").read_text(errors="replace").replace("\0", " "))
    return found


def test_fixtures(tmp_path: Path, mark: str) -> None:
    """VMs of all kinds, the node `microvm`, the page's example, in two processes."""
    (example,) = (each for each in examples(DOCS / "pytest.md") if each.name == "vms")
    files = {"test_vms": VMS, "test_example": example.text, "test_node": VM_NODE}
    run = Pytest(tmp_path, "--lisa-node=microvm", *WORKERS, **files).finish(600)
    text = run.stdout
    assert "= 1 failed, 7 passed in " in text, text
    (failed,) = re.findall(r"___ TestClass.test_class_second ___.*?(?=\n_{3,}|\n={3,})", text, re.S)
    assert re.search(r"-- console of VM 'shared' --+\nsaid by the guest$", failed), failed
    assert marked(mark) == []
    folders = set((tmp_path / "vms").read_text().split())
    # The VM of two tests, and its resets; a class's VM; one of a factory, and its reset.
    assert len(folders) == 6
    assert [folder for folder in folders if Path(folder).exists()] == []


def test_killed(tmp_path: Path, mark: str) -> None:
    """After SIGKILL of pytest nothing is left, nor of its processes."""
    files = [tmp_path / f"ready{number}" for number in range(2)]
    process = Pytest(tmp_path, "-n", "2", test_killed=VM_KILLED)
    eventually(lambda: all(x.exists() for x in files) or process.poll() is not None, 400)
    folders = [Path(file.read_text()) for file in files]
    assert all(folder.is_dir() for folder in folders)
    assert any("qemu-system" in line for line in marked(mark))
    process.kill()
    eventually(lambda: marked(mark) == [] and not any(x.exists() for x in folders), 60)
