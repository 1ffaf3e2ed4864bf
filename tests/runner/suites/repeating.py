"""Cases that fail at first, beside cases that pass at once."""

from __future__ import annotations

from lisa import Node, TestCaseMetadata, TestSuite, TestSuiteMetadata

from lisa_container import (
    ContainerExecutor,
    ContainerTestConfig,
    ContainerTestSuite,
    container_test,
)

BUSYBOX = "lisa_container/busybox"
_failed: set[str] = set()


def is_first(name: str) -> bool:
    """Return whether this is the first call in this process with that name."""
    is_new = name not in _failed
    _failed.add(name)
    return is_new


def fail_once(name: str, container: ContainerExecutor) -> None:
    """Fail at the first call in this process with that name."""
    container.run(f"exit {int(is_first(name))}", expected_exit_code=0)


@TestSuiteMetadata(area="tests", category="functional", description="Repeated by LISA.")
class Repeating(ContainerTestSuite):
    def _get_container_config(self) -> ContainerTestConfig:
        return ContainerTestConfig(image=BUSYBOX)

    @TestCaseMetadata(description="fails at first", priority=0)
    def repeating_suite(self, container: ContainerExecutor) -> None:
        fail_once("suite", container)

    @TestCaseMetadata(description="fails at first, with a fresh container", priority=0)
    @container_test(scope="case")
    def repeating_decorated(self, container: ContainerExecutor) -> None:
        fail_once("decorated", container)

    @TestCaseMetadata(description="passes", priority=1)
    def repeating_short(self, container: ContainerExecutor) -> None:
        container.run("true")


@TestSuiteMetadata(area="tests", category="functional", description="No suite of ours.")
class RepeatingPlain(TestSuite):
    @TestCaseMetadata(description="fails at first, always", priority=0)
    @container_test(image=BUSYBOX, evidence="always")
    def repeating_plain(self, container: ContainerExecutor) -> None:
        fail_once("plain", container)


@TestSuiteMetadata(area="tests", category="functional", description="On guests.")
class RepeatingStock(TestSuite):
    @TestCaseMetadata(description="fails at first", priority=0)
    def repeating_on_guest(self, node: Node) -> None:
        node.execute(f"exit {int(is_first('guest'))}", shell=True, expected_exit_code=0)

    @TestCaseMetadata(description="passes", priority=1)
    def repeating_stock(self, node: Node) -> None:
        node.execute("true", expected_exit_code=0)
