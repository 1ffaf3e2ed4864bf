"""Cases whose containers are kept if they fail."""

from __future__ import annotations

import contextlib
from typing import Any

from lisa import Node, TestCaseMetadata, TestSuite, TestSuiteMetadata

from lisa_container import (
    CommandTimeoutError,
    ContainerExecutor,
    ContainerTestConfig,
    ContainerTestSuite,
    DockerAdvanced,
    container_test,
)

BUSYBOX = "lisa_container/busybox"


@TestSuiteMetadata(area="tests", category="functional", description="With kept containers.")
class Keeping(ContainerTestSuite):
    def _get_container_config(self) -> ContainerTestConfig:
        return ContainerTestConfig(image=BUSYBOX)

    @TestCaseMetadata(description="fails", priority=0)
    def keeping_failed(self, container: ContainerExecutor) -> None:
        container.run("echo /root/lisa/x >/marker; cat /marker")
        container.run("exit 7", expected_exit_code=0)

    @TestCaseMetadata(description="has another container", priority=1)
    def keeping_later(self, container: ContainerExecutor) -> None:
        container.run("test ! -e /marker", expected_exit_code=0)


@TestSuiteMetadata(area="tests", category="functional", description="By the config alone.")
class KeepingByConfig(TestSuite):
    @TestCaseMetadata(description="fails", priority=0)
    @container_test(image=BUSYBOX, keep_containers="failed", scope="case")
    def kept_by_config(self, container: ContainerExecutor) -> None:
        container.run("exit 7", expected_exit_code=0)

    @TestCaseMetadata(description="fails, and is not kept", priority=1)
    @container_test(image=BUSYBOX, scope="case")
    def not_kept(self, container: ContainerExecutor) -> None:
        container.run("exit 7", expected_exit_code=0)

    @TestCaseMetadata(description="fails in containers of one command", priority=2)
    def kept_one_shot(self, node: Node) -> None:
        docker = node.tools[DockerAdvanced]
        options: dict[str, Any] = {"image": BUSYBOX, "keep_containers": "failed"}
        docker.run_in_container(command="exit 7", name="passed", **options)
        with contextlib.suppress(CommandTimeoutError):
            docker.run_in_container(command="sleep 4248", name="too-slow", timeout=1, **options)
        docker.run_in_container(command="exit 7", name="shot", expected_exit_code=0, **options)


@TestSuiteMetadata(area="tests", category="functional", description="With containers of its own.")
class KeepingOwn(TestSuite):
    @TestCaseMetadata(description="passes in a container of its own", priority=2)
    @container_test(image=BUSYBOX, scope="case")
    def stays_decorated(self, container: ContainerExecutor) -> None:
        container.run("true", expected_exit_code=0)

    @TestCaseMetadata(description="passes in a container that it makes", priority=2)
    def stays_own(self, node: Node) -> None:
        with ContainerExecutor(node, ContainerTestConfig(image=BUSYBOX)) as container:
            container.run("true", expected_exit_code=0)


@TestSuiteMetadata(area="tests", category="functional", description="Knows of no container.")
class KeepingGuest(TestSuite):
    @TestCaseMetadata(description="fails in a guest", priority=0)
    def guest_failed(self, node: object) -> None:
        raise AssertionError("in the guest")

    @TestCaseMetadata(description="passes in the same guest", priority=1)
    def guest_later(self, node: object) -> None: ...
