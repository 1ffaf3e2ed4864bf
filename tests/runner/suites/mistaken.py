"""Cases with mistakes that are reported when the cases are selected."""

from __future__ import annotations

from lisa import Node, TestCaseMetadata, TestSuite, TestSuiteMetadata

from lisa_container import (
    ContainerExecutor,
    ContainerTestConfig,
    ContainerTestSuite,
    container_test,
)

IMAGE = "lisa_container/busybox"


@TestSuiteMetadata(area="tests", category="functional", description="Parameters of cases.")
class Mistaken(ContainerTestSuite):
    def _get_container_config(self) -> ContainerTestConfig:
        return ContainerTestConfig(image=IMAGE)

    @TestCaseMetadata(description="a misspelt parameter", priority=0)
    def mistaken_name(self, containr: ContainerExecutor) -> None: ...

    @TestCaseMetadata(description="a parameter without annotation", priority=0)
    def mistaken_bare(self, container) -> None: ...  # type: ignore[no-untyped-def]

    @TestCaseMetadata(description="a sound one", priority=0)
    def mistaken_not(self, container: ContainerExecutor) -> None:
        container.run("true", expected_exit_code=0)


@TestSuiteMetadata(area="tests", category="functional", description="A decorated case.")
class MistakenDecorated(TestSuite):
    @TestCaseMetadata(description="a misspelt parameter", priority=0)
    @container_test(image=IMAGE)
    def mistaken_decorated(self, node: Node, hots: Node) -> None: ...
