"""Cases for test_sandbox_platform.py that check the nodes of the platform."""

from __future__ import annotations

from assertpy import assert_that
from lisa import (
    Environment,
    Node,
    TestCaseMetadata,
    TestSuite,
    TestSuiteMetadata,
    schema,
    search_space,
    simple_requirement,
)
from lisa.base_tools import Service
from lisa.tools import Docker, Lscpu, Uname


@TestSuiteMetadata(area="sandbox_nodes", category="functional", description="nodes of a sandbox")
class SandboxNodes(TestSuite):
    @TestCaseMetadata(description="a node as any other", priority=1)
    def verify_one_node(self, node: Node) -> None:
        assert_that(node.tools[Uname].get_linux_information().kernel_version_raw).is_not_empty()
        assert_that(node.execute("id -u", sudo=True).stdout).is_equal_to("0")
        assert_that(node.capability.core_count).is_equal_to(node.tools[Lscpu].get_thread_count())
        assert_that(node.tools[Service].check_service_status("docker")).is_true()
        assert_that(node.tools[Docker].info()).contains("overlay2")

    @TestCaseMetadata(description="as many as asked for", requirement=simple_requirement(3))
    def verify_three_nodes(self, environment: Environment) -> None:
        nodes = list(environment.nodes.list())
        names = [node.execute("hostname").stdout for node in nodes]
        assert_that(names).is_equal_to(["node0", "node1", "node2"])
        nodes[0].execute("ping -c 1 -W 2 node2", expected_exit_code=0)

    @TestCaseMetadata(
        description="a sandbox has no further disk",
        requirement=simple_requirement(
            disk=schema.DiskOptionSettings(data_disk_count=search_space.IntRange(min=1))
        ),
    )
    def verify_data_disk(self, node: Node) -> None:
        raise AssertionError("this must not run")

    @TestCaseMetadata(description="it asks for the password", priority=4)
    def verify_login(self, environment: Environment) -> None:
        for node in environment.nodes.list():
            assert_that(node.execute("id -un").stdout).is_equal_to("asker")
            assert_that(node.execute("sudo -n true").exit_code).is_not_equal_to(0)
            assert_that(node.execute("id -u", sudo=True).stdout).is_equal_to("0")
