"""Nothing of a VM stays, however its runner ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lisa_container.microvm import MicroVm
from tests.support.processes import runs
from tests.support.waiting import eventually

RUNNER = Path(__file__).with_name("runner_script.py")


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize("how", ["exit", "SIGINT", "SIGKILL", "keeper", "fork"])
def test_runner_ends(how: str) -> None:
    runner = subprocess.Popen([sys.executable, str(RUNNER), how], stdout=subprocess.PIPE, text=True)
    assert runner.stdout
    qemu, keeper, child, folder = runner.stdout.readline().split()
    if how == "keeper":
        os.kill(int(keeper), signal.SIGKILL)
        eventually(lambda: not runs(qemu))
        assert Path(folder).is_dir()
        with MicroVm():  # cleans up
            pass
    if how != "exit":
        number = getattr(signal, how) if how.startswith("SIG") else signal.SIGKILL
        runner.send_signal(number)
    runner.wait(30)
    eventually(lambda: not runs(qemu) and not runs(keeper))
    assert not Path(folder).exists()
    if how == "fork":
        os.kill(int(child), signal.SIGKILL)


def test_stop_and_failure_leave_nothing(image: object) -> None:
    with contextlib.suppress(ValueError), MicroVm() as vm:
        assert vm._guest
        folder, pid = vm._guest.process.folder, str(vm.pid)
        raise ValueError
    assert not runs(pid)
    assert not folder.exists()
