"""Cases whose image is in the private registry of the tests."""

from __future__ import annotations

from assertpy import assert_that
from lisa import TestCaseMetadata, TestSuiteMetadata

from lisa_container import ContainerExecutor, ContainerTestConfig, ContainerTestSuite


@TestSuiteMetadata(area="tests", category="functional", description="From the private registry")
class Stocked(ContainerTestSuite):
    def _get_container_config(self) -> ContainerTestConfig:
        return ContainerTestConfig(image="tool:2")

    @TestCaseMetadata(description="By way of a mirror, which wants credentials")
    def stocked_by_a_mirror(self, container: ContainerExecutor) -> None:
        assert_that(container.run("cat /tag").stdout).is_equal_to("2")

    @TestCaseMetadata(description="What the registry says is in the message")
    def stocked_nowhere(self, container: ContainerExecutor) -> None:
        raise AssertionError("this case fails, so that there is a message")
