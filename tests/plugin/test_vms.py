"""Virtual machines in the pytest plugin: runs of pytest with real ones."""

from __future__ import annotations

import json
import re
import shlex
from contextlib import suppress
from pathlib import Path

import pytest

from tests.plugin.examples import VM_KILLED, VM_NODE, VM_SCOPES, VMS
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
    files["test_scopes"] = VM_SCOPES
    words = ("--lisa-node=microvm", "--keep-failed", f"--lisa-log={tmp_path / 'log'}", *WORKERS)
    run = Pytest(tmp_path, *words, **files).finish(600)
    text = run.stdout
    assert "= 2 failed, 14 passed, 1 warning in " in text, text
    (failed,) = re.findall(r"___ TestClass.test_class_second ___.*?(?=\n_{3,}|\n={3,})", text, re.S)
    assert re.search(r"-- console of VM 'shared' --+\nsaid by the guest\n-+ frozen", failed), failed
    section = r"-- commands in VM 'shared' --+\n\$ test -e /first\n\(exit code 0, \d\.\d+ s\)\n"
    assert re.search(section, failed), failed
    assert "touch" not in failed, "another test ran that"
    (warning,) = re.findall(r"DeadVmWarning: .*", text)
    assert "leaves the shared VM 'shared' dead" in warning and "had a kernel panic" in warning
    assert "kept containers" not in text, "their node ends with pytest"
    (frozen,) = re.findall(r"^=+ frozen virtual machines =+\n((?:VM .*\n)+)", text, re.M)
    in_container = "docker exec $(docker ps -q --filter label=lisa_container.run) cat /file"
    for vm, case, command in (
        ("shared", "test_class_second", "cat /dev/shm/of_class"),
        ("vm0", "test_kept_in_node", in_container),
    ):
        (thaw,) = re.findall(
            rf"^VM '{vm}'; thaw: lisa-container (vm thaw {case} --log .*)", frozen, re.M
        )
        words = (*programs.CLI, *shlex.split(thaw), "--command", command)
        assert programs.run(*words, timeout=120).stdout == "kept\n"
    assert marked(mark) == []
    (file,) = (tmp_path / "log").glob("*/*/tests/*module_second*/containers/shared/*.jsonl")
    commands = {json.loads(line)["command"] for line in file.read_text().splitlines()}
    assert commands == {"test ! -e /second", "touch /second"}
    folders = set((tmp_path / "vms").read_text().split())
    # The VM of two tests, and its resets; a class's VM; one of a factory, and its reset.
    assert len(folders) == 6
    assert [folder for folder in folders if Path(folder).exists()] == []


def test_killed(tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After SIGKILL of pytest nothing is left: process, socket, overlay, temporary file."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    files = [tmp_path / f"ready{number}" for number in range(4)]
    process = Pytest(tmp_path, "-n", "4", "-m", "vmtest", test_killed=VM_KILLED)
    eventually(lambda: all(x.exists() for x in files) or process.poll() is not None, 400)
    folders = [Path(file.read_text()) for file in files]
    assert all(folder.is_dir() for folder in folders)
    assert any("qemu-system" in line for line in marked(mark))
    assert all((folder / "disk.qcow2").is_file() for folder in folders)
    process.kill()
    eventually(lambda: marked(mark) == [] and not any(x.exists() for x in folders), 60)
    assert list(temporary.iterdir()) == []
