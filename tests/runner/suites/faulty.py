"""Cases with faults in their containers."""

from __future__ import annotations

from assertpy import assert_that
from lisa import Node, TestCaseMetadata, TestSuite, TestSuiteMetadata

from lisa_container import (
    ContainerExecutor,
    ContainerTestConfig,
    ContainerTestSuite,
    container_test,
)
from lisa_container.chaos import CpuStress, DiskFull, with_fault

IMAGE = "lisa_container/busybox"
TMPFS = {"/data": "size=4m"}


@TestSuiteMetadata(area="tests", category="functional", description="Faults.")
class Faulty(ContainerTestSuite):
    def _get_container_config(self) -> ContainerTestConfig:
        return ContainerTestConfig(image=IMAGE, tmpfs=TMPFS)

    @TestCaseMetadata(description="the disk is full", priority=2)
    @with_fault(DiskFull(path="/data"))
    def faulty_suite(self, container: ContainerExecutor) -> None:
        assert_that(container.run("echo x >/data/file").exit_code).is_not_equal_to(0)

    @TestCaseMetadata(description="the disk is free again", priority=2)
    def faulty_over(self, container: ContainerExecutor) -> None:
        container.run("echo x >/data/file", expected_exit_code=0)

    @TestCaseMetadata(description="a decorated case", priority=2)
    @container_test(image=IMAGE, tmpfs={"/other": "size=4m"})
    @with_fault(CpuStress(), DiskFull(path="/other"))
    def faulty_decorated(self, node: Node) -> None:
        assert_that(node.execute("echo x >/other/file", shell=True).exit_code).is_not_equal_to(0)

    @TestCaseMetadata(description="the decorator in the wrong place", priority=2)
    @with_fault(CpuStress())
    @container_test(image=IMAGE)
    def faulty_place(self, node: Node) -> None:
        raise AssertionError("it must not run")


@TestSuiteMetadata(area="tests", category="functional", description="Knows nothing of faults.")
class FaultyStock(TestSuite):
    @TestCaseMetadata(description="the cgroup is throttled", priority=2)
    def throttled_by_fault(self, node: Node) -> None:
        files = "/sys/fs/cgroup/cpu.stat /sys/fs/cgroup/cpu/cpu.stat"
        script = f"sleep 2; cat {files} 2>/dev/null | sed -n 's/^nr_throttled //p'"
        assert_that(int(node.execute(script, shell=True).stdout)).is_greater_than(0)
