"""Cases that make containers themselves, and cases that do not need their suite's container."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable

from assertpy import assert_that
from lisa import Node, TestCaseMetadata, TestSuite, TestSuiteMetadata
from lisa.util import SkippedException

from lisa_container import (
    ContainerExecutor,
    ContainerTestConfig,
    ContainerTestSuite,
    DockerAdvanced,
    container_test,
)

IMAGE = "lisa_container/busybox"
CONFIG = ContainerTestConfig(image=IMAGE, artifacts=["/kept"])


@TestSuiteMetadata(area="tests", category="functional", description="No suite of ours.")
class OwnContainers(TestSuite):
    @TestCaseMetadata(description="passes", priority=0)
    def own_passed(self, node: Node) -> None:
        with ContainerExecutor(node, CONFIG, "own_passed") as container:
            container.run("echo passed >/kept")
            container.stop()
            container.start().run("echo again >/kept")

    @TestCaseMetadata(description="passes, with containers where it handles an error", priority=0)
    def own_recovered(self, node: Node) -> None:
        try:
            raise LookupError("handled")
        except LookupError:
            with ContainerExecutor(node, CONFIG, "own_recovered") as container:
                container.run("echo recovered >/kept")
            bare = ContainerExecutor(node, CONFIG, "own_bare").start()
            bare.run("echo bare >/kept")
            bare.stop()

    @TestCaseMetadata(description="is skipped", priority=0)
    def own_skipped(self, node: Node) -> None:
        with ContainerExecutor(node, CONFIG, "own_skipped") as container:
            container.run("echo skipped >/kept")
            raise SkippedException("for this reason")

    @TestCaseMetadata(description="is stopped without a block", priority=1)
    def own_finally(self, node: Node) -> None:
        container = ContainerExecutor(node, CONFIG, "own_finally").start()
        try:
            container.run("echo finally >/kept", expected_exit_code=1)
        finally:
            container.stop()

    @TestCaseMetadata(description="takes too long", priority=1, timeout=8)
    def own_timeout(self, node: Node) -> None:
        with ContainerExecutor(node, CONFIG, "own_timeout") as container:
            container.run("echo begun >/kept; sleep 4246")

    @TestCaseMetadata(description="fails, with a container of a thread", priority=2)
    def own_failed(self, node: Node) -> None:
        def work() -> None:
            left = ContainerExecutor(node, CONFIG, "own_left").start()
            left.run("echo left >/kept")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        with ContainerExecutor(node, CONFIG, "own_failed") as container:
            container.run("echo failed >/kept; touch /new; exit 7", expected_exit_code=0)


@TestSuiteMetadata(area="tests", category="functional", description="Slow to remove.")
class Lasting(TestSuite):
    @TestCaseMetadata(description="takes too long", timeout=8)
    def lasting_timeout(self, node: Node) -> None:
        stubborn = ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]
        config = CONFIG.merged(command=stubborn, evidence="never", artifacts=[])
        with ContainerExecutor(node, config, "lasting_timeout") as container:
            container.run("echo begun; sleep 4247")

    @TestCaseMetadata(description="takes too long in a container for the case", timeout=8)
    @container_test(
        image=IMAGE,
        command=["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"],
        evidence="never",
        scope="case",
    )
    def lasting_decorated(self, container: ContainerExecutor) -> None:
        container.run("echo begun; sleep 4247")


@TestSuiteMetadata(area="tests", category="functional", description="Without executors.")
class Shots(TestSuite):
    @TestCaseMetadata(description="fails in the second of two containers", priority=2)
    def shot_failed(self, node: Node) -> None:
        docker = node.tools[DockerAdvanced]
        docker.run_in_container(IMAGE, ["echo", "first"], name="shot")
        script = "echo shot >/kept; echo out; echo err >&2; exit 7"
        docker.run_in_container(
            IMAGE, script, name="shot", artifacts=["/kept"], expected_exit_code=0
        )

    @TestCaseMetadata(description="takes too long", priority=2)
    def shot_timeout(self, node: Node) -> None:
        script = "echo begun >/kept; sleep 4249"
        node.tools[DockerAdvanced].run_in_container(
            IMAGE, script, name="shot_timeout", artifacts=["/kept"], timeout=1
        )

    @TestCaseMetadata(description="fails in a container that it has created", priority=2)
    def shot_created(self, node: Node) -> None:
        docker = node.tools[DockerAdvanced]
        docker.create(IMAGE, ["sleep", "1000"], name="shot_created", artifacts=["/kept"])
        docker.start("shot_created")
        docker.exec_in_container("shot_created", "echo hand >/kept; exit 7", expected_exit_code=0)

    @TestCaseMetadata(description="passes, in containers of others", priority=2)
    def shot_elsewhere(self, node: Node) -> None:
        docker = node.tools[DockerAdvanced]
        made = docker.client.containers.run(IMAGE, ["sleep", "1000"], detach=True)
        docker.exec_in_container(made.name, ["echo", "by hand"], expected_exit_code=0)
        docker.exec_in_container(made.id, ["echo", "by its id"], expected_exit_code=0)
        made.remove(force=True)
        with ContainerExecutor(node, CONFIG, "shot_elsewhere") as container:
            docker.exec_in_container(container.name, ["echo", "elsewhere"])
            container.run("echo here >/kept")


@TestSuiteMetadata(area="tests", category="functional", description="Two at the same time.")
class OwnAtOnce(TestSuite):
    def _run(self, node: Node, name: str, other: str) -> None:
        def work() -> None:
            with ContainerExecutor(node, CONFIG, name) as container:
                deadline = time.monotonic() + 60
                while not container.docker.list(name=other):
                    assert_that(time.monotonic()).is_less_than(deadline)
                    time.sleep(0.1)
                container.run(["echo", name])
                time.sleep(0.5)  # so that the other sees this one, too

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    @TestCaseMetadata(description="one")
    def at_once_one(self, node: Node) -> None:
        self._run(node, "at_once_one", "at_once_two")

    @TestCaseMetadata(description="two")
    def at_once_two(self, node: Node) -> None:
        self._run(node, "at_once_two", "at_once_one")


def forwarding(case: Callable[..., None]) -> Callable[..., None]:
    """Wrap a case without its signature; LISA gives what is annotated."""

    def wrapper(self: ContainerTestSuite, **arguments: Any) -> None:
        case(self, **arguments)

    wrapper.__name__, wrapper.__qualname__ = case.__name__, case.__qualname__
    wrapper.__annotations__ = case.__annotations__
    return wrapper


@TestSuiteMetadata(area="tests", category="functional", description="An idle container.")
class Idle(ContainerTestSuite):
    def _get_container_config(self) -> ContainerTestConfig:
        return CONFIG.merged(hostname="suite")

    def before_case(self, container: Any = None, **kwargs: Any) -> None:
        self.before = container

    def after_case(self, **kwargs: Any) -> None:
        if "container" in kwargs:
            kwargs["container"].run("echo after", expected_exit_code=0)

    @TestCaseMetadata(description="needs no container", priority=0)
    def idle_untouched(self, node: Node) -> None:
        node.execute("true", expected_exit_code=0)

    @TestCaseMetadata(description="makes its own, and fails", priority=1)
    def idle_own(self, node: Node) -> None:
        with ContainerExecutor(node, CONFIG, "idle_own") as container:
            container.run("echo own >/kept; exit 7", expected_exit_code=0)

    @TestCaseMetadata(description="is in another one, makes its own, and fails", priority=1)
    @container_test(environment={"OTHER": "1"})
    def idle_decorated(self, node: Node, host: Node) -> None:
        node.execute("echo decorated >/kept", shell=True)
        with ContainerExecutor(host, CONFIG, "idle_beside") as container:
            container.run("echo beside >/kept; exit 7", expected_exit_code=0)

    @TestCaseMetadata(description="asks in its code, and fails", priority=2)
    def idle_by_code(self, node: Node) -> None:
        assert_that(self.before).is_none()
        self._run_in_container(node, "echo code >/kept; hostname", expected_exit_code=0)
        raise AssertionError("fails")

    @TestCaseMetadata(description="asks by its signature", priority=3)
    def idle_by_signature(self, container: ContainerExecutor) -> None:
        assert_that(self.before).is_same_as(container)
        container.run("hostname; rm /kept")

    @TestCaseMetadata(description="asks by the annotations of a wrapper", priority=4)
    @forwarding
    def idle_by_annotation(self, container: ContainerExecutor) -> None:
        container.run("true", expected_exit_code=0)


@TestSuiteMetadata(area="tests", category="functional", description="Prepares its container.")
class Prepares(ContainerTestSuite):
    def _get_container_config(self) -> ContainerTestConfig:
        return CONFIG

    def _prepare_container(self, node: Node) -> None:
        self._run_in_container(node, "echo early >>/early")
        super()._prepare_container(node)

    @TestCaseMetadata(description="prepares each container once, and replaces a dead one")
    def idle_prepared(self, node: Node) -> None:
        containers = []
        for _ in range(2):
            container = self._prepare_container(node)
            assert_that(containers).does_not_contain(container)
            containers.append(container)
            assert_that(self._prepare_container(node)).is_same_as(container)
            assert_that(self._run_in_container(node, "cat /early").stdout).is_equal_to("early")
            container.kill()
            deadline = time.monotonic() + 20
            while container.is_running:
                assert_that(time.monotonic()).is_less_than(deadline)
