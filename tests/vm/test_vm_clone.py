"""Clones: usable at once, each with an identity of its own, and as new after a reset."""

from __future__ import annotations

import dataclasses
import subprocess
import time

import pytest

from lisa_container.microvm import MicroVm, Milestone, VmConfig
from tests.support.processes import runs
from tests.support.runtimes import VM
from tests.support.soak import SOAKS
from tests.support.vms import SOME_BOOTS, run_in
from tests.support.waiting import eventually, happens

IDENTITY = """\
hostname
cat /etc/machine-id /sys/class/net/eth0/address /etc/ssh/ssh_host_ed25519_key.pub
ip -6 addr show dev eth0 scope link | grep -o 'fe80[^ ]*'
cat /proc/sys/kernel/random/uuid
"""


def test_login_sudo_and_engine(vm: MicroVm) -> None:
    assert run_in(vm, "id -un; sudo id -un") == "tester\nroot\n"
    assert run_in(vm, "id -un", user="root") == "root\n"
    assert run_in(vm, "sudo docker version --format '{{.Server.Os}}'") == "linux\n"
    assert run_in(vm, "uname -r").strip() == vm.kernel_version


def test_kernel_of_its_own(vm: MicroVm) -> None:
    run_in(vm, "modprobe dummy && ip link add d0 type dummy && ip link del d0", user="root")
    run_in(vm, "tc qdisc add dev lo root netem delay 1ms && tc qdisc del dev lo root", user="root")
    assert "some avg10" in run_in(vm, "cat /proc/pressure/memory")
    assert "memory" in run_in(vm, "cat /sys/fs/cgroup/cgroup.controllers")


def test_clock_is_right(vm: MicroVm) -> None:
    before = time.time()
    assert before - 2 <= float(run_in(vm, "date +%s.%N")) <= time.time() + 2


def test_no_connection_of_the_template_lives(vm: MicroVm) -> None:
    established = run_in(vm, "ss -Htn state established").splitlines()
    assert len(established) == 1, "only the one of this command"


def test_two_clones_have_nothing_in_common(vm: MicroVm, other_vm: MicroVm) -> None:
    one, other = run_in(vm, IDENTITY).split("\n"), run_in(other_vm, IDENTITY).split("\n")
    assert one[0] == "vm0" and other[0] == "other"
    assert not set(one[:-1]) & set(other[:-1])
    run_in(vm, "echo one >/var/tmp/file; sync")
    run_in(other_vm, "test ! -e /var/tmp/file")


def test_reset_brings_back_the_beginning(vm: MicroVm) -> None:
    before = (vm.port, vm.host_key, run_in(vm, "cat /etc/machine-id"))
    run_in(vm, "echo x | sudo tee /file /dev/shm/file && sudo rm /bin/ls && sudo pkill dockerd")
    vm.reset()
    run_in(vm, "test ! -e /file && test ! -e /dev/shm/file && /bin/ls && pgrep dockerd")
    assert (vm.port, vm.host_key, run_in(vm, "cat /etc/machine-id")) == before


def test_pause(vm: MicroVm) -> None:
    count = "i=0; while :; do i=$((i + 1)); echo $i >/run/now; sleep 0.1; done"
    vm.run_script(f"({count}) >/dev/null 2>&1 &")
    vm.pause()
    time.sleep(2)
    vm.resume()
    gap = "a=$(cat /run/now); sleep 0.5; b=$(cat /run/now); echo $a $b"
    assert happens(lambda: len(set(run_in(vm, gap).split())) == 2, 20)
    vm.reset()


def test_console_has_what_the_guest_prints(vm: MicroVm) -> None:
    vm.run_script("echo hello console")
    eventually(lambda: "hello console" in vm.console)  # it is slower than the end of the script


def test_stopped_vm(vm: MicroVm) -> None:
    stopped = MicroVm(VmConfig(name="stopped"))
    assert not stopped.is_running
    stopped.stop()
    assert stopped.console == ""


@SOME_BOOTS
def test_guest_that_reboots_itself_has_its_disk_and_a_new_kernel() -> None:
    """Each boot is in a QEMU of its own, because a used one is many times slower."""
    boot_id = "cat /proc/sys/kernel/random/boot_id"
    with MicroVm(dataclasses.replace(VM, name="again")) as vm:
        before = (vm.pid, run_in(vm, boot_id))
        run_in(vm, "echo kept >kept; sync; sudo touch /run/lost; sudo systemctl --no-block reboot")
        assert happens(lambda: vm.pid != before[0], 60)
        # As LISA does, which knows only address and port.
        answers = [*vm.ssh_command(), "test ! -e /run/lost && cat kept && " + boot_id]
        assert happens(lambda: subprocess.run(answers, capture_output=True).returncode == 0, 120)
        assert run_in(vm, "cat kept") == "kept\n"
        assert run_in(vm, boot_id) != before[1]
        vm.run_script("true")
        assert "Restarting system" in vm.console
    assert not runs(before[0])


@pytest.mark.soak
def test_disk_stays_when_the_vm_is_switched_off_and_on(other_vm: MicroVm) -> None:
    """In each run the VM is switched off; it boots again, for half a minute, only in a soak."""
    before = run_in(other_vm, "echo kept >kept; sync; cat kept /etc/machine-id /etc/hostname")
    other_vm.power_off()
    assert other_vm.is_running and not other_vm.is_on
    if SOAKS:
        other_vm.power_on()
        assert Milestone.ENGINE in other_vm.milestones
        again = "cat kept /etc/machine-id /etc/hostname"
        assert run_in(other_vm, again) == before
