"""Cases of an ordinary LISA suite that run inside a container: `@container_test`."""

from __future__ import annotations

from assertpy import assert_that
from lisa import Node, TestCaseMetadata, TestSuite, TestSuiteMetadata
from lisa.tools import Cat, Uname

from lisa_container import ContainerExecutor, container_test


@TestSuiteMetadata(
    area="container",
    category="functional",
    description="""
    The decorator makes the case's node a container, in which any LISA code works.
    """,
)
class Inside(TestSuite):
    """Ordinary LISA suite. The order of the two decorators does not matter."""

    @TestCaseMetadata(description="Processes and root are the container's.", priority=1)
    @container_test(image="lisa_container/busybox")
    def verify_inside(self, node: Node, host: Node) -> None:
        first = node.execute("cat /proc/1/cmdline").stdout
        assert_that(first).is_not_equal_to(host.execute("cat /proc/1/cmdline", sudo=True).stdout)
        assert_that(node.execute("ls /").stdout).does_not_contain("boot")

    @container_test(image="lisa_container/busybox", environment={"MODE": "kernel"})
    @TestCaseMetadata(description="LISA's tools work inside.", priority=1)
    def verify_tools(self, node: Node, host: Node) -> None:
        assert_that(node.execute("echo $MODE", shell=True).stdout).is_equal_to("kernel")
        assert_that(node.tools[Cat].read("/etc/os-release")).contains("BusyBox")
        inside = node.tools[Uname].get_linux_information()
        assert_that(inside.kernel_version_raw).is_equal_to(
            host.tools[Uname].get_linux_information().kernel_version_raw
        )

    @TestCaseMetadata(description="A memory limit is enforced and reported.", priority=2)
    @container_test(image="lisa_container/busybox", memory="16m", scope="case")
    def verify_memory_limit(self, container: ContainerExecutor) -> None:
        result = container.run("dd if=/dev/zero of=/dev/null bs=200M count=1")
        assert_that(result.exit_code).is_equal_to(137)  # 128 + SIGKILL
        assert_that(result.oom_killed).is_true()
