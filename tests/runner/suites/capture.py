"""Cases whose artifacts a test checks."""

from __future__ import annotations

import time
from typing import Any

from lisa import Node, TestCaseMetadata, TestSuite, TestSuiteMetadata, notifier, schema
from lisa.messages import MessageBase, TestResultMessage
from lisa.util import SkippedException

from lisa_container import (
    ContainerExecutor,
    ContainerTestConfig,
    ContainerTestSuite,
    container_test,
)
from lisa_container.evidence import NoiseRule

BUSYBOX = "lisa_container/busybox"


@TestSuiteMetadata(area="tests", category="functional", description="What is recorded.")
class Captured(ContainerTestSuite):
    change_rules = (NoiseRule("engine", "/sbin/docker-init"), NoiseRule("quiet", "/quiet"))

    def _get_container_config(self) -> ContainerTestConfig:
        return ContainerTestConfig(
            image=BUSYBOX,
            environment={"API_TOKEN": "container-secret"},
            artifacts=["/kept/**/*.log"],
        )

    def after_case(self, container: Any = None, **kwargs: Any) -> None:
        container.run("rm -rf /kept")

    @TestCaseMetadata(description="passes", priority=0)
    def captured_passed(self, container: ContainerExecutor) -> None:
        container.run("echo passed; echo before >/before; echo before >/gone; mkdir -p /kept/a")
        container.run("echo kept >/kept/a/1.log")

    @TestCaseMetadata(description="fails", priority=1)
    def captured_failed(self, container: ContainerExecutor, host: Node) -> None:
        time.sleep(1.1)
        container.run("mkdir -p /kept/b; echo $API_TOKEN >/kept/b/2.log; echo no >/kept/b/2.txt")
        container.run("echo now >/before; rm /gone; echo new >/new; chmod 640 /new; touch /quiet")
        container.run("echo $API_TOKEN; echo err >&2; exit 7", expected_exit_code=0)

    @TestCaseMetadata(description="is skipped", priority=2)
    def captured_skipped(self, container: ContainerExecutor) -> None:
        raise SkippedException("for this reason")

    @TestCaseMetadata(description="kills its container", priority=3)
    @container_test(environment={"OTHER": "1"})
    def captured_died(self, container: ContainerExecutor) -> None:
        container.run("mkdir -p /kept/c; echo dying >/kept/c/3.log")
        container.run("echo last words; kill -9 -1; sleep 100")
        container.kill()
        container.run("true")

    @TestCaseMetadata(description="takes too long", priority=4, timeout=4)
    @container_test
    def captured_timeout(self, container: ContainerExecutor) -> None:
        container.run("echo begun; sleep 100")


@TestSuiteMetadata(area="tests", category="functional", description="No suite of ours.")
class CapturedPlain(TestSuite):
    @TestCaseMetadata(description="takes too long in a container of its own", timeout=8)
    @container_test(image=BUSYBOX, scope="case")
    def alone_timeout(self, container: ContainerExecutor, node: Node) -> None:
        node.execute("echo as a node")
        container.run("echo begun; sleep 100")

    @TestCaseMetadata(description="passes, and all is kept")
    @container_test(image=BUSYBOX, scope="case", evidence="always")
    def alone_always(self, container: ContainerExecutor) -> None:
        container.run("echo kept >/file")


@TestSuiteMetadata(area="tests", category="functional", description="For a run that is killed.")
class CapturedKilled(ContainerTestSuite):
    def _get_container_config(self) -> ContainerTestConfig:
        return ContainerTestConfig(image=BUSYBOX)

    @TestCaseMetadata(description="never ends")
    def captured_forever(self, container: ContainerExecutor) -> None:
        container.run("echo short")
        container.run("echo begun; sleep 4244")


@TestSuiteMetadata(area="tests", category="functional", description="Knows of no container.")
class Stock(TestSuite):
    @TestCaseMetadata(description="passes", priority=0)
    def stock_passed(self, node: Node) -> None:
        node.execute("echo passed >/passed", shell=True)

    @TestCaseMetadata(description="fails", priority=1)
    def stock_failed(self, node: Node) -> None:
        time.sleep(0.2)
        node.execute("echo failed >/failed", shell=True)
        node.execute("false", expected_exit_code=0)

    @TestCaseMetadata(description="passes, and closes its node", priority=2)
    def stock_closed(self, node: Node) -> None:
        node.close()
        node.execute("echo after", shell=True)


class SlowNotifier(notifier.Notifier):
    """Notifier that delays LISA's reports of cases, so that they come after the begin of a case."""

    @classmethod
    def type_name(cls) -> str:
        return "slow"

    @classmethod
    def type_schema(cls) -> type[schema.TypedSchema]:
        return schema.Notifier

    def _subscribed_message_type(self) -> list[type[MessageBase]]:
        return [TestResultMessage]

    def _modify_message(self, message: MessageBase) -> None:
        time.sleep(0.2)

    def _received_message(self, message: MessageBase) -> None:
        pass
