"""Test that each failure of a VM has its own error, with the end of the console."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from lisa_container.errors import (
    VmDiedError,
    VmDiskFullError,
    VmKernelError,
    VmMachineError,
    VmPanicError,
    VmTimeoutError,
)
from lisa_container.microvm import MicroVm, VmConfig
from lisa_container.microvm.image.store import Image
from lisa_container.microvm.machine import accelerator, qemu
from lisa_container.microvm.machine.accelerator import Accelerator
from tests.support.vms import run_in
from tests.support.waiting import eventually


def test_kernel_panic(other_vm: MicroVm) -> None:
    other_vm.check()
    with pytest.raises(VmPanicError) as caught:
        other_vm.run_script("echo c >/proc/sysrq-trigger", seconds=30)
    assert "VM 'other' had a kernel panic: sysrq triggered crash" in str(caught.value)
    assert "end Kernel panic - not syncing" in str(caught.value)
    other_vm.reset()
    assert run_in(other_vm, "hostname") == "other\n"


def test_full_disk(other_vm: MicroVm) -> None:
    with pytest.raises(VmDiskFullError, match=r"no space left on its disk; .*disk_gib"):
        other_vm.run_script("fallocate -l 100G /fill; dd if=/dev/zero of=/fill2 bs=4M 2>&1")


def test_qemu_is_killed(other_vm: MicroVm) -> None:
    os.kill(other_vm.pid, signal.SIGKILL)
    eventually(lambda: not other_vm.is_running)
    with pytest.raises(VmDiedError, match="VM 'other' ended: its QEMU was killed or failed"):
        other_vm.check()
    with pytest.raises(VmDiedError, match="ended"):
        other_vm.run_script("true")
    with pytest.raises(VmDiedError, match="ended"):
        other_vm.pause()
    other_vm.reset()
    assert run_in(other_vm, "hostname") == "other\n"


def test_guest_hangs(image: Image, tmp_path: Path) -> None:
    seconds = 6 / accelerator.find_accelerator().patience
    config = VmConfig(
        is_cloned=False, ready_seconds=seconds, console=str(tmp_path / "console"), options="nolapic"
    )
    vm = MicroVm(config)
    with pytest.raises(VmTimeoutError) as caught:
        vm.start()
    assert "did not boot in 6 s" in str(caught.value)
    assert "Last milestone: " in str(caught.value)
    assert not vm.is_running
    assert vm.console


def test_kernel_without_drivers(image: Image, tmp_path: Path) -> None:
    beside = tmp_path / "known"
    beside.mkdir()
    for name in ("kernel", "config"):
        shutil.copy(image.folder / name, beside)
    with pytest.raises(VmKernelError, match="CONFIG_VIRTIO_BLK: the disk"):
        MicroVm(VmConfig(kernel=str(beside / "kernel"))).start()
    # Without its config, only the boot can tell.
    (beside / "config").unlink()
    with pytest.raises(VmPanicError, match="VFS: Unable to mount root fs") as caught:
        MicroVm(VmConfig(kernel=str(beside / "kernel"), is_cloned=False)).start()
    assert "Last milestone: kernel" in str(caught.value)


def test_no_qemu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu, "_PROGRAM", "qemu-img")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(qemu, "environment", lambda: dict(os.environ))
    with pytest.raises(VmMachineError, match="apt-get install .*qemu-utils"):
        qemu.find_program("qemu-img")


def test_accelerator_is_tried() -> None:
    assert accelerator.runs_guest(Accelerator.TCG, seconds=20)
