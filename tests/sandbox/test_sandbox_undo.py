"""The machine is the same after a sandbox as before, however the runner ends."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lisa_container.platforms.sandbox import start_sandbox
from tests.support.nested import on_own_machine

_ASPECTS = {"processes", "interfaces", "firewall", "settings", "cgroups", "files"}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("how", ["stop", "exit", "os._exit", "SIGINT", "SIGTERM", "SIGKILL"])
def test_everything_is_undone(tmp_path: Path, how: str) -> None:
    found = on_own_machine(tmp_path, "undo_script.py", how)
    assert found["after"] == {}


def test_comparison_sees_a_running_sandbox(tmp_path: Path) -> None:
    found = on_own_machine(tmp_path, "undo_script.py", "SIGKILL")
    assert set(found["during"]) == _ASPECTS


def test_next_sandbox_cleans_up_after_a_killed_keeper(tmp_path: Path) -> None:
    found = on_own_machine(tmp_path, "undo_script.py", "keeper")
    assert found["after"] == {}


def test_data_of_living_nodes_is_not_swept_by_another_machine(tmp_path: Path) -> None:
    # It shares the cache folder, and knows nothing of the sandboxes here.
    with start_sandbox(1, docker=False) as sandbox:
        on_own_machine(tmp_path, "undo_script.py", "stop")
        assert sandbox.nodes[0].run("cat /etc/hostname").stdout == "node0\n"


def test_loop_devices_of_a_node_are_detached() -> None:
    with start_sandbox(1, docker=False) as sandbox:
        files = "/root/disk /var/lib/docker/disk"
        attach = "losetup --find --show $file"
        done = sandbox.nodes[0].run(
            f"truncate -s 1M {files} && for file in {files}; do {attach} || exit 1; done"
        )
        devices = [Path("/sys/block", Path(name).name, "loop") for name in done.stdout.split()]
        assert len(devices) == 2
        assert all(device.exists() for device in devices)
    assert not any(device.exists() for device in devices)


def test_loop_devices_of_others_are_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "disk"
    file.write_bytes(bytes(1024**2))
    device = subprocess.check_output(["losetup", "--find", "--show", str(file)], text=True).strip()
    try:
        with start_sandbox(1, docker=False):
            pass
        assert Path("/sys/block", Path(device).name, "loop").exists()
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
