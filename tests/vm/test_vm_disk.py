"""VMs from given disks, by Python: commands in them, hardware, switching off and on."""

from __future__ import annotations

import logging
import subprocess
import time
from pathlib import Path

import pytest

from lisa_container.errors import VmBootError
from lisa_container.microvm import DiskImageConfig, MicroVm, Nic, PrivateNetwork, VmConfig
from lisa_container.microvm.freezing import freeze_failed
from lisa_container.microvm.frozen.thaw import ThawedVm
from lisa_container.microvm.places import Places
from lisa_container.microvm.session import VmSession
from tests.support.cloud_image import provide_cloud_image
from tests.support.soak import SOAKS
from tests.support.vms import SOME_BOOTS, run_in


@SOME_BOOTS
def test_commands_hardware_and_power(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    network = PrivateNetwork()
    config = VmConfig(
        name="cloud",
        image=DiskImageConfig(disk=str(provide_cloud_image())),
        data_disks_gib=(3,),
        nics=(Nic(network, "10.91.0.1/24"),),
        # Without KVM, a boot beside other tests may take minutes.
        ready_seconds=60,
    )
    with VmSession(MicroVm(config)) as vm:
        # By OpenSSH's client, which knows only the host key that the VM was given.
        assert run_in(vm.machine, "id -un; hostname") == "tester\ncloud\n"
        assert vm.run("id -un; cat /proc/$$/comm").stdout == "root\nsh"
        vm.write_file("/root/file", "content")
        assert vm.read_file("/root/file") == "content"
        assert vm.run("lsblk -bdno SIZE /dev/vdb").stdout == str(3 << 30)
        assert "10.91.0.1/24" in vm.run("ip -4 addr show eth1").stdout
        assert vm.run("ip -4 route get 10.0.2.2").stdout.count("dev eth0") == 1
        vm.machine.run_script("echo by script >/root/other")
        assert vm.read_file("/root/other") == "by script\n"
        case = tmp_path / "run" / "tests" / "case"
        (frozen,) = freeze_failed([vm.machine], "cloud", case, 4, logging.getLogger())
        with ThawedVm(frozen) as copy:
            copy.go_on()
            command = [*copy.ssh_command(), "sudo cat /root/other; lsblk -bdno SIZE /dev/vdb"]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.stdout == f"by script\n{3 << 30}\n", done
        boot = vm.read_file("/proc/sys/kernel/random/boot_id")
        for _ in range(2):
            port = vm.machine.port
            vm.run("echo x >/dev/vdb && sync && date -s @1000000", expected_exit_code=0)
            vm.reset()
            assert vm.machine.port == port
            assert vm.read_file("/proc/sys/kernel/random/boot_id") == boot
            assert vm.run("ls /root; head -c 1 /dev/vdb | od -An -tx1").stdout.split() == ["00"]
            assert abs(float(vm.run("date +%s.%N").stdout) - time.time()) < 2
        vm.write_file("/root/file", "content")
        vm.close()
        vm.machine.power_off()
        assert not vm.machine.is_on
        vm.machine.power_on()
        assert vm.read_file("/root/file") == "content"
        if SOAKS:
            (state,) = Places.of("").running.glob("*/checkpoint.state")
            state.write_bytes(b"damaged")
            vm.reset()
            assert "VM 'cloud' boots instead" in caplog.text
            assert vm.run("ls /root").stdout == ""
            assert vm.read_file("/proc/sys/kernel/random/boot_id") != boot


@SOME_BOOTS
def test_failure_of_cloud_init_is_told(tmp_path: Path) -> None:
    data = tmp_path / "user-data"
    data.write_text("runcmd: [[sh, -c, exit 3]]\n")
    image = DiskImageConfig(disk=str(provide_cloud_image()), user_data=(str(data),))
    with pytest.raises(VmBootError, match=r"did not finish its first boot \(cloud-init\)"):
        MicroVm(VmConfig(image=image, ready_seconds=60)).start()
