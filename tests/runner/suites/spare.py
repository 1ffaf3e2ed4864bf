"""Cases with a container each, to test who starts it and when."""

from __future__ import annotations

import time

from assertpy import assert_that
from lisa import Node, TestCaseMetadata, TestSuite, TestSuiteMetadata, simple_requirement

from lisa_container import (
    ContainerExecutor,
    ContainerTestConfig,
    ContainerTestSuite,
    DockerAdvanced,
    Scope,
    container_test,
)

BUSYBOX = "lisa_container/busybox"


def others(node: Node, container: ContainerExecutor) -> list[str]:
    """Return the ids of the other containers on the node."""
    present = [item["Id"] for item in node.tools[DockerAdvanced].list(all=True)]
    assert_that(present).contains(container.id)
    return [each for each in present if each != container.id]


def wait_for_spare(node: Node, container: ContainerExecutor) -> str:
    deadline = time.monotonic() + 60
    while not others(node, container):
        assert_that(time.monotonic()).is_less_than(deadline)
        time.sleep(0.1)
    (spare,) = others(node, container)
    return spare


@TestSuiteMetadata(area="tests", category="functional", description="A spare for each next case.")
class Warm(ContainerTestSuite):
    spares: list[str] = []

    def _get_container_config(self) -> ContainerTestConfig:
        return ContainerTestConfig(image=BUSYBOX, scope=Scope.CASE)

    @TestCaseMetadata(description="nobody made its container before", priority=0)
    def warm_first(self, container: ContainerExecutor, node: Node) -> None:
        self.spares.append(wait_for_spare(node, container))

    @TestCaseMetadata(description="it has the spare, and the old one is gone", priority=1)
    def warm_second(self, container: ContainerExecutor, node: Node) -> None:
        assert_that(container.id).is_equal_to(self.spares[-1])
        self.spares.append(wait_for_spare(node, container))

    @TestCaseMetadata(description="likewise", priority=2)
    @container_test
    def warm_third(self, container: ContainerExecutor, host: Node) -> None:
        assert_that(container.id).is_equal_to(self.spares[-1])
        self.spares.append(wait_for_spare(host, container))

    @TestCaseMetadata(description="another kind of container: the spare stays", priority=3)
    @container_test(hostname="other")
    def warm_other(self, container: ContainerExecutor, host: Node) -> None:
        assert_that(others(host, container)).is_equal_to(self.spares[-1:])

    @TestCaseMetadata(description="the last: no spare", priority=4)
    def warm_last(self, container: ContainerExecutor, node: Node) -> None:
        assert_that(container.id).is_equal_to(self.spares[-1])
        assert_that(others(node, container)).is_empty()


@TestSuiteMetadata(area="tests", category="functional", description="No spares.")
class Cold(ContainerTestSuite):
    def _get_container_config(self) -> ContainerTestConfig:
        return ContainerTestConfig(image=BUSYBOX, scope=Scope.CASE, warm_spare=False)

    @TestCaseMetadata(description="first", priority=0)
    def cold_first(self, container: ContainerExecutor, node: Node) -> None:
        container.run("sleep 1")
        assert_that(others(node, container)).is_empty()

    @TestCaseMetadata(description="second", priority=1)
    def cold_second(self, container: ContainerExecutor, node: Node) -> None:
        assert_that(others(node, container)).is_empty()


@TestSuiteMetadata(area="tests", category="functional", description="The spare is not used.")
class Unused(TestSuite):
    @TestCaseMetadata(description="its spare waits for a case that is skipped", priority=0)
    @container_test(BUSYBOX, scope="case")
    def unused_first(self, container: ContainerExecutor, host: Node) -> None:
        wait_for_spare(host, container)

    @TestCaseMetadata(
        description="there are not so many nodes",
        priority=1,
        requirement=simple_requirement(min_count=9),
    )
    @container_test(BUSYBOX, scope="case")
    def unused_second(self, container: ContainerExecutor) -> None:
        raise AssertionError("it must not come to this")


@TestSuiteMetadata(area="tests", category="functional", description="The spare fails.")
class Failing(ContainerTestSuite):
    device = "/dev/lisa_spare"

    def _get_container_config(self) -> ContainerTestConfig:
        return ContainerTestConfig(image=BUSYBOX, scope=Scope.CASE, devices=[self.device])

    def _prepare_container(self, node: Node) -> ContainerExecutor:
        container = super()._prepare_container(node)
        node.execute(f"rm -f {self.device}", sudo=True)
        return container

    @TestCaseMetadata(description="a spare fails while it runs", priority=0)
    def failing_first(self, container: ContainerExecutor, node: Node) -> None:
        container.run(f"sleep 1; test -c {self.device}", expected_exit_code=0)

    @TestCaseMetadata(description="it shows why", priority=1)
    def failing_second(self, container: ContainerExecutor) -> None:
        raise AssertionError("it must not come to this")


@TestSuiteMetadata(area="tests", category="functional", description="Ends beside a spare.")
class Beside(ContainerTestSuite):
    def _get_container_config(self) -> ContainerTestConfig:
        return ContainerTestConfig(image=BUSYBOX, scope=Scope.CASE)

    @TestCaseMetadata(description="it fails", priority=0)
    def beside_failed(self, container: ContainerExecutor) -> None:
        container.run("exit 7", expected_exit_code=0)

    @TestCaseMetadata(description="it takes too long", priority=1, timeout=10)
    def beside_timeout(self, container: ContainerExecutor) -> None:
        container.run("sleep 4343")

    @TestCaseMetadata(description="it waits for Ctrl-C", priority=2)
    def beside_interrupted(self, container: ContainerExecutor, node: Node) -> None:
        wait_for_spare(node, container)
        container.run("sleep 4344")

    @TestCaseMetadata(description="it passes", priority=3)
    def beside_last(self, container: ContainerExecutor) -> None:
        container.run("true", expected_exit_code=0)
