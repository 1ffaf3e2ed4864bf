"""Cases that share a container, and the parameters that a case may have."""

from __future__ import annotations

import time
from typing import Any

from assertpy import assert_that
from lisa import (
    Environment,
    Logger,
    Node,
    TestCaseMetadata,
    TestSuite,
    TestSuiteMetadata,
    simple_requirement,
)
from lisa.util import SkippedException

from lisa_container import (
    ContainerExecutor,
    ContainerNode,
    ContainerTestConfig,
    ContainerTestSuite,
    DockerAdvanced,
    Scope,
    container_test,
)

BUSYBOX = "lisa_container/busybox"


@TestSuiteMetadata(area="tests", category="functional", description="One container.")
class Shared(ContainerTestSuite):
    seen: dict[str, str] = {}

    def _get_container_config(self) -> ContainerTestConfig:
        return ContainerTestConfig(image=BUSYBOX, environment={"FROM": "suite"})

    def before_case(self, log: Logger, **kwargs: Any) -> None:
        # Without super(): a user need not call the method of the base class.
        self.before = kwargs.get("container")

    @TestCaseMetadata(description="first", priority=0)
    def shared_first(self, container: ContainerExecutor, node: Node, host: Node) -> None:
        self.seen["first"] = container.id
        assert_that(self.before.id).is_equal_to(container.id)
        assert_that(node).is_same_as(host)
        assert_that(self._run_in_container(node, "echo $FROM").stdout).is_equal_to("suite")
        container.run("touch /left", expected_exit_code=0)

    @TestCaseMetadata(description="second", priority=1)
    def shared_second(self, container: ContainerExecutor, containers: list) -> None:
        assert_that(container.id).is_equal_to(self.seen["first"])
        assert_that(containers).is_equal_to([container])
        container.run("test -e /left", expected_exit_code=0)

    @TestCaseMetadata(description="what it does not name comes from the suite", priority=2)
    @container_test
    def shared_bare(self, node: Node, host: Node, container: ContainerExecutor) -> None:
        assert_that(node).is_instance_of(ContainerNode)
        assert_that(container.id).is_equal_to(self.seen["first"])
        assert_that(node.execute("echo $FROM", shell=True).stdout).is_equal_to("suite")
        assert_that(isinstance(host, ContainerNode)).is_false()

    @container_test(environment={"MODE": "kernel"})
    @TestCaseMetadata(description="a config of its own: a container of its own", priority=2)
    def shared_other(self, node: Node, container: ContainerExecutor) -> None:
        assert_that(container.id).is_not_equal_to(self.seen["first"])
        assert_that(node.execute("echo $FROM $MODE", shell=True).stdout).is_equal_to("suite kernel")

    @TestCaseMetadata(description="a dead container is replaced", priority=3)
    def shared_killed(self, container: ContainerExecutor) -> None:
        container.kill()

    @TestCaseMetadata(description="a dead container is replaced", priority=4)
    def shared_replaced(self, container: ContainerExecutor) -> None:
        assert_that(container.id).is_not_equal_to(self.seen["first"])
        container.run("true", expected_exit_code=0)


@TestSuiteMetadata(area="tests", category="functional", description="A container a case.")
class Fresh(ContainerTestSuite):
    seen: list[str] = []

    def _get_container_config(self) -> ContainerTestConfig:
        return ContainerTestConfig(image=BUSYBOX, scope=Scope.CASE)

    def after_case(self, log: Logger, **kwargs: Any) -> None:
        kwargs["container"].run("test -e /own", expected_exit_code=0)
        log.info("after_case had the container")

    @TestCaseMetadata(description="first", priority=0)
    def fresh_first(self, container: ContainerExecutor) -> None:
        self.seen.append(container.id)
        container.run("touch /own", expected_exit_code=0)

    @TestCaseMetadata(description="second", priority=1)
    def fresh_second(self, container: ContainerExecutor, node: Node) -> None:
        assert_that(self.seen).does_not_contain(container.id)
        present = [item["Id"] for item in node.tools[DockerAdvanced].list(all=True)]
        assert_that(present).does_not_contain(self.seen[0]).contains(container.id)
        container.run("! test -e /own && touch /own", expected_exit_code=0)


@TestSuiteMetadata(area="tests", category="functional", description="No base class of ours.")
class Plain(TestSuite):
    @TestCaseMetadata(description="below LISA's", priority=0)
    @container_test(image=BUSYBOX, mount_host_root=True, hostname="inside")
    def plain_below(self, node: Node, host: Node) -> None:
        assert_that(node.execute("hostname").stdout).is_equal_to("inside")
        assert_that(node.execute("cat /host/etc/hostname").stdout).is_equal_to(
            host.execute("cat /etc/hostname").stdout
        )
        # The container has its own process list and root.
        assert_that(node.execute("ls /proc", shell=True).stdout.split()).does_not_contain(
            str(host.execute("pidof dockerd", sudo=True).stdout.split()[0])
        )

    @container_test(BUSYBOX)
    @TestCaseMetadata(description="above LISA's", priority=0)
    def plain_above(
        self, node: Node, log: Logger, case_name: str, environment: Environment
    ) -> None:
        assert_that(list(environment.nodes.list())).is_equal_to([node])
        assert_that(environment.default_node).is_same_as(node)
        log.info(f"{case_name} in {node.execute('hostname').stdout}")

    @TestCaseMetadata(description="it need not name the node", priority=0)
    @container_test(BUSYBOX)
    def plain_without_node(self, container: ContainerExecutor) -> None:
        container.run("true", expected_exit_code=0)


@TestSuiteMetadata(area="tests", category="functional", description="Two nodes.")
class TwoNodes(ContainerTestSuite):
    def _get_container_config(self) -> ContainerTestConfig:
        return ContainerTestConfig(image=BUSYBOX)

    def _prepare_container(self, node: Node) -> ContainerExecutor:
        started = time.monotonic()
        executor = super()._prepare_container(node)
        time.sleep(1)  # so that one after the other would show
        self.spans = [*getattr(self, "spans", []), (started, time.monotonic())]
        return executor

    @TestCaseMetadata(
        description="one on each, prepared at the same time",
        requirement=simple_requirement(min_count=2),
    )
    def two_nodes(self, containers: list, container: ContainerExecutor) -> None:
        names = {each.run("cat /proc/sys/kernel/hostname").stdout for each in containers}
        assert_that(names).is_length(2)
        assert_that(container).is_same_as(containers[0])
        (_, first_end), (second_start, _) = sorted(self.spans)[:2]
        assert_that(second_start).is_less_than(first_end)

    @TestCaseMetadata(
        description="all nodes of the environment are containers",
        requirement=simple_requirement(min_count=2),
    )
    @container_test
    def two_nodes_inside(self, node: Node, host: Node, environment: Environment) -> None:
        nodes = list(environment.nodes.list())
        assert_that(environment.default_node).is_same_as(node)
        names = {each.execute("hostname").stdout for each in nodes}
        assert_that(names).is_length(2).does_not_contain(host.execute("hostname").stdout)
        assert_that([each.parent for each in nodes]).contains(host).is_length(2)
        assert_that(nodes[0].parent).is_not_same_as(nodes[1].parent)


@TestSuiteMetadata(area="tests", category="functional", description="One of two nodes fails.")
class HalfStarted(ContainerTestSuite):
    def _get_container_config(self) -> ContainerTestConfig:
        return ContainerTestConfig(image=BUSYBOX, scope="case", warm_spare=False)

    def _prepare_container(self, node: Node) -> ContainerExecutor:
        if node.index:
            raise AssertionError("node 1 is not ready")
        time.sleep(2)  # node 1 fails meanwhile
        return super()._prepare_container(node)

    @TestCaseMetadata(
        description="one node is slow, and the other one fails",
        priority=0,
        requirement=simple_requirement(min_count=2),
    )
    def half_started(self, containers: list) -> None:
        raise AssertionError("a case without its containers must not run")

    @TestCaseMetadata(
        description="the slow node has no container of the case before",
        priority=1,
        requirement=simple_requirement(min_count=2),
    )
    def half_left(self, environment: Environment) -> None:
        time.sleep(4)  # a late start would be over
        for node in environment.nodes.list():
            assert_that(node.execute("docker ps -aq", sudo=True).stdout).is_empty()


@TestSuiteMetadata(area="tests", category="functional", description="Cases that do not pass.")
class Ending(ContainerTestSuite):
    def _get_container_config(self) -> ContainerTestConfig:
        return ContainerTestConfig(image=BUSYBOX)

    @TestCaseMetadata(description="it fails", priority=0)
    def ending_failed(self, container: ContainerExecutor) -> None:
        container.run("exit 7", expected_exit_code=0)

    @TestCaseMetadata(description="it takes too long", priority=1, timeout=3)
    def ending_timeout(self, container: ContainerExecutor) -> None:
        container.run("echo begun; sleep 4242")

    @TestCaseMetadata(description="the command of the last one is gone", priority=2)
    def ending_after_timeout(self, container: ContainerExecutor) -> None:
        deadline = time.monotonic() + 10
        while "4242" in container.run("ps -o args").stdout.replace("ps -o args", ""):
            assert_that(time.monotonic()).is_less_than(deadline)
            time.sleep(0.2)

    @TestCaseMetadata(description="it skips", priority=3)
    def ending_skipped(self, container: ContainerExecutor) -> None:
        raise SkippedException("for this reason")

    @TestCaseMetadata(description="it waits for Ctrl-C", priority=4)
    def ending_interrupted(self, container: ContainerExecutor) -> None:
        container.run("sleep 4243")

    @TestCaseMetadata(description="no such image", priority=4)
    @container_test(image="lisa_container_tests/no_such_image", pull_policy="never")
    def ending_no_image(self, node: Node) -> None:
        raise AssertionError("it must not come to this")

    @TestCaseMetadata(description="preparing fails half-way", priority=4)
    @container_test(volumes={"/dev/null": "/proc/nothing/here"})
    def ending_half_way(self, node: Node) -> None:
        raise AssertionError("it must not come to this")


@TestSuiteMetadata(area="tests", category="functional", description="It names no container.")
class Nameless(ContainerTestSuite):
    @TestCaseMetadata(description="the error says what to do")
    def nameless(self, container: ContainerExecutor) -> None:
        raise AssertionError("it must not come to this")

    @TestCaseMetadata(description="the decorator alone is enough")
    @container_test(BUSYBOX)
    def nameless_decorated(self, node: Node) -> None:
        node.execute("true", expected_exit_code=0)
