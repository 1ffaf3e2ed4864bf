"""Monitor of a virtual machine, whose kernel has cgroup version 2 and PSI."""

from __future__ import annotations

from lisa_container import ContainerExecutor, ContainerTestConfig, DockerAdvanced
from lisa_container.microvm import ImageConfig, MicroVm, VmConfig
from lisa_container.microvm.session import VmSession
from lisa_container.monitor import Alert, Monitor, compare
from tests.support.nodes import BUSYBOX
from tests.support.vms import SOME_BOOTS
from tests.support.waiting import eventually

MIB = 1 << 20


@SOME_BOOTS
def test_monitor() -> None:
    """All figures are there: of a container that goes on, of short ones, and of an OOM kill."""
    image = ImageConfig(packages=("python3",))
    config = VmConfig(name="monitored", image=image, is_cloned=False)
    with VmSession(MicroVm(config)) as vm:
        limited = ContainerTestConfig(image=BUSYBOX, memory="32m", cpus=0.5)
        with Monitor(vm.node, 0.5, [Alert("oom_kills", above=0, fails=False)]) as monitor:
            with ContainerExecutor(vm.node, limited, "limited") as box:
                before = monitor.snapshot()
                box.run("timeout 5 sh -c 'while :; do :; done'")
                assert box.run("tail /dev/zero").exit_code == 137
                eventually(lambda: monitor.snapshot()["limited"].oom_kills == 1)
                seen = monitor.snapshot()["limited"]
                (change,) = compare(before, monitor.snapshot())
            assert 1 < (change.cpu or 0) < 10 and (change.throttled or 0) > 0.5
            assert seen.limit == 32 * MIB and (seen.throttled_periods or 0) > 0
            pressures = (seen.cpu_pressure, seen.memory_pressure, seen.io_pressure)
            assert all(x is not None for x in pressures) and (seen.cpu_pressure or 0) > 0
            assert [x.container for x in monitor.violations] == ["limited"]
            docker, before = vm.node.tools[DockerAdvanced], monitor.snapshot()
            docker.run_in_container(BUSYBOX, "true", name="short", expected_exit_code=0)
            (short,) = compare(before, monitor.snapshot())
            assert (short.name, short.has_begun, short.has_ended) == ("short", True, True)
            assert (short.cpu or 0) > 0 and monitor.snapshot()["limited"].is_final
            print(f"the program used {monitor.overhead:.3f} s in the VM")
