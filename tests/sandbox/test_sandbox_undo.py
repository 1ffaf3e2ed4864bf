"""The machine is the same after a sandbox as before, however the runner ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from nested import on_own_machine

from lisa_container.platforms.sandbox import start_sandbox

_ASPECTS = {"processes", "interfaces", "firewall", "settings", "cgroups", "files"}


@pytest.mark.parametrize("how", ["stop", "exit", "os._exit", "SIGINT", "SIGTERM", "SIGKILL"])
def test_everything_is_undone(tmp_path: Path, how: str) -> None:
    found = on_own_machine(tmp_path, "undo_script.py", how)
    assert found["after"] == {}


def test_comparison_sees_a_running_sandbox(tmp_path: Path) -> None:
    found = on_own_machine(tmp_path, "undo_script.py", "SIGKILL")
    assert set(found["during"]) == _ASPECTS


def test_next_sandbox_undoes_what_a_killed_keeper_left(tmp_path: Path) -> None:
    found = on_own_machine(tmp_path, "undo_script.py", "keeper")
    assert found["after"] == {}


def test_data_of_living_nodes_is_not_swept_by_another_machine(tmp_path: Path) -> None:
    # It shares the cache folder, and knows nothing of the sandboxes here.
    with start_sandbox(1, docker=False) as sandbox:
        on_own_machine(tmp_path, "undo_script.py", "stop")
        assert sandbox.nodes[0].run("cat /etc/hostname").stdout == "node0\n"
