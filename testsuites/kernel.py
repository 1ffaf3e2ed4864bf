"""The node's kernel, tested from a container."""

from __future__ import annotations

from assertpy import assert_that
from lisa import Node, TestCaseMetadata, TestSuiteMetadata
from lisa.tools import Dmesg
from lisa.util import SkippedException

from lisa_container import ContainerExecutor, ContainerTestConfig, ContainerTestSuite

from .image import container_image

# Loads processes, files, memory and pipes for a few seconds.
_STRESS = """
set -e
end=$(($(date +%s) + 5))
while [ $(date +%s) -lt $end ]; do
    for i in 1 2 3 4; do
        (dd if=/dev/zero of=/tmp/stress.$i bs=64k count=64 2>/dev/null
         cat /tmp/stress.$i | md5sum >/dev/null; rm /tmp/stress.$i) &
    done
    wait
done
"""


@TestSuiteMetadata(
    area="container",
    category="stress",
    description="""
    Tests the node's kernel from a privileged container: modules, load, and the kernel log.
    """,
)
class KernelInContainer(ContainerTestSuite):
    """Suite of kernel tests. The container sees the host's modules read-only."""

    def _get_container_config(self) -> ContainerTestConfig:
        return ContainerTestConfig(
            image=container_image(self), privileged=True, mount_host_root=True
        )

    @TestCaseMetadata(description="A module is loaded and removed from a container.", priority=2)
    def verify_module(self, container: ContainerExecutor, host: Node) -> None:
        dry = host.execute("modprobe -n dummy", sudo=True, shell=True)
        if dry.exit_code != 0:
            reason = dry.stdout + dry.stderr
            raise SkippedException(f"the node's kernel has no module 'dummy': {reason}")
        container.run(["chroot", "/host", "modprobe", "dummy"], expected_exit_code=0)
        try:
            assert_that(container.run("cat /proc/modules").stdout).contains("dummy ")
        finally:
            container.run(["chroot", "/host", "modprobe", "-r", "dummy"])

    @TestCaseMetadata(description="Load adds no error to the kernel's log.", priority=2)
    def verify_stress(self, container: ContainerExecutor, host: Node) -> None:
        before = _errors(host)
        container.run(_STRESS, timeout=120, expected_exit_code=0)
        assert_that([line for line in _errors(host) if line not in before]).is_empty()


def _errors(host: Node) -> list[str]:
    """Return the errors in the kernel's log, without the traces of kills for lack of memory.

    A process that exceeds the limit of its cgroup is no error of the kernel.
    """
    dmesg = host.tools[Dmesg]
    errors = dmesg.check_kernel_errors(force_run=True, throw_error=False).splitlines()
    is_kill, traces = False, set()
    for line in dmesg.get_output(force_run=True).splitlines():
        if "invoked oom-killer" in line:
            is_kill = True
        elif "Call Trace" in line:
            if is_kill:
                traces.add(line)
            is_kill = False
    return [line for line in errors if line not in traces]
