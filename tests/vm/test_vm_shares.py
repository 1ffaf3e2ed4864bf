"""Folders of this machine in a VM."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path

import pytest

from lisa_container.errors import VmDiedError, VmError, VmMachineError
from lisa_container.microvm import MicroVm, Share, VmConfig
from lisa_container.microvm.process.shares import share_of
from lisa_container.microvm.session import VmSession
from tests.support.runtimes import VM
from tests.support.soak import SOAKS
from tests.support.waiting import eventually


@pytest.mark.soak
def test_read_and_written_also_after_a_boot(tmp_path: Path) -> None:
    read, written = tmp_path / "it's read", tmp_path / "written"
    read.mkdir()
    written.mkdir()
    (read / "file").write_text("content")
    # As in a marker of pytest or a runbook.
    share = {"source": str(written), "target": "/srv/written", "is_read_only": False}
    shares = (Share(str(read), "/srv/it's read"), share_of(share))
    # Each boot of an engine would take a quarter of a minute.
    config = dataclasses.replace(VM, shares=shares)
    with VmSession(MicroVm(config)) as vm:
        assert vm.run('cat "/srv/it\'s read/file"').stdout == "content"
        vm.run("echo new >/srv/written/file", expected_exit_code=0)
        assert (written / "file").read_text() == "new\n"
        # The guest's root cannot undo the limit.
        refused = vm.run('cd "/srv/it\'s read" && mount -o remount,rw . && touch other')
        assert "Read-only file system" in refused.stderr
        with pytest.raises(VmError, match="has shares"):
            vm.machine.freeze(tmp_path / "frozen", "case", 1 << 40)
        servers = _servers(tmp_path)
        assert len(servers) >= 2
        if SOAKS:
            vm.machine.power_off(30)
            assert "Power down" in vm.console
            vm.machine.power_on()
            vm.close()
            assert vm.run("cat /srv/written/file").stdout == "new"
        os.kill(vm.machine.pid, signal.SIGKILL)
        eventually(lambda: not _servers(tmp_path))
    assert not _servers(tmp_path)


def test_folder_that_is_gone(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    vm = MicroVm(VmConfig(shares=(Share(str(source), "/srv"),)))
    source.rmdir()
    with pytest.raises(VmDiedError, match="source"):
        vm.start()
    assert not _servers(tmp_path)


def test_without_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(VmMachineError, match="need root"):
        MicroVm(VmConfig(shares=(Share(str(tmp_path), "/srv"),))).start()


def _servers(folder: Path) -> list[int]:
    """Return the pids of the servers of folders below a folder."""
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if b"virtiofsd\0" in (line := _read(path)) and bytes(folder) in line
    ]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
