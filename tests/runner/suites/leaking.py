"""Cases that try to leak secrets in many ways. Each secret begins with `hunter2-`."""

from __future__ import annotations

import contextlib

from assertpy import assert_that
from lisa import Node, TestCaseMetadata, TestSuite, TestSuiteMetadata
from lisa.util import LisaException, SkippedException

from lisa_container import (
    ContainerExecutor,
    ContainerTestConfig,
    ContainerTestSuite,
    container_test,
)
from lisa_container.docker_advanced import DockerAdvanced

BUSYBOX = "lisa_container/busybox"


def hunter(what: str) -> str:
    """Return a secret. Tracebacks show lines of this file, so no secret is in it."""
    return f"hunter2-{what}"


@TestSuiteMetadata(area="tests", category="functional", description="With secrets.")
class Leaking(ContainerTestSuite):
    def _get_container_config(self) -> ContainerTestConfig:
        return ContainerTestConfig(
            image=BUSYBOX,
            environment={
                "API_TOKEN": hunter("token'\"%"),
                "DSN": f"postgres://me:{hunter('url')}@localhost/x",
                "SIGNING_KEY": f"-----BEGIN KEY-----\n{hunter('first')}\n{hunter('second')}\n",
                "MODE": "kernel",
                "AUTH_MODE": "kernel",
                "TOKEN_COUNT": "1",
            },
        )

    @TestCaseMetadata(description="a value in an assertion's message, and ordinary ones")
    def leak_assertion(self, container: ContainerExecutor, node: Node) -> None:
        node.log.info("the kernel counts 1")
        assert_that(container.run("echo $API_TOKEN").stdout).is_equal_to("kernel 1")

    @TestCaseMetadata(description="the cause of an error, and a part of an address")
    def leak_cause(self, container: ContainerExecutor) -> None:
        try:
            raise ValueError(container.run("echo ${DSN#*me:}").stdout)
        except ValueError as error:
            raise RuntimeError(container.run("echo $DSN").stdout) from error

    @TestCaseMetadata(description="a key of several lines")
    def leak_lines(self, container: ContainerExecutor) -> None:
        print(container.run('echo "$SIGNING_KEY"').stdout)
        raise RuntimeError(container.run('echo "$SIGNING_KEY"').stdout)

    @TestCaseMetadata(description="a variable of one command")
    def leak_update_envs(self, container: ContainerExecutor) -> None:
        environment = {"DB_PASSWORD": hunter("update")}
        container.run("echo $DB_PASSWORD; exit 3", update_envs=environment, expected_exit_code=0)

    @TestCaseMetadata(description="as words of commands that fail")
    def leak_words(self, container: ContainerExecutor) -> None:
        container.run(f"MY_TOKEN={hunter('inline')} false")
        container.run(["false", "--password", hunter("word"), f"--api-key={hunter('option')}"])
        container.run(f"false -H 'Authorization: Bearer {hunter('header')}'; sleep 0.1 & exit 1")
        container.run_async(f"true --secret '{hunter('quoted')}'").wait()
        container.run(f"MY_TOKEN={hunter('expected')} false", expected_exit_code=0)

    @TestCaseMetadata(description="in a command that takes too long")
    def leak_timeout(self, container: ContainerExecutor) -> None:
        container.run(f"MY_TOKEN={hunter('late')} sleep 9", timeout=2)

    @TestCaseMetadata(description="in a command that cannot be started")
    def leak_refused(self, container: ContainerExecutor) -> None:
        container.run(["env", f"MY_TOKEN={hunter('refused')}"], cwd="/not/there")

    @TestCaseMetadata(description="in a message that is no failure")
    def leak_skipped(self, container: ContainerExecutor) -> None:
        raise SkippedException(container.run("echo $API_TOKEN").stdout)

    @TestCaseMetadata(description="through the LISA tool")
    def leak_tool(self, container: ContainerExecutor, host: Node) -> None:
        docker = host.tools[DockerAdvanced]
        environment = {"TOOL_TOKEN": hunter("tool")}
        command = f"MY_TOKEN={hunter('exec')} env"
        docker.exec_in_container(container.name, command, environment=environment)
        docker.run_in_container(
            BUSYBOX, f"X_TOKEN={hunter('shot')} env; exit 4", environment={"A_KEY": hunter("a")}
        ).assert_exit_code(0)


@TestSuiteMetadata(area="tests", category="functional", description="With secrets, as a node.")
class LeakingNode(TestSuite):
    @TestCaseMetadata(description="LISA's own commands")
    @container_test(image=BUSYBOX, environment={"API_TOKEN": hunter("node")})
    def leak_node(self, node: Node) -> None:
        environment = {"OTHER_TOKEN": hunter("other")}
        result = node.execute("echo $API_TOKEN $OTHER_TOKEN", shell=True, update_envs=environment)
        for command in (
            f"true --password {hunter('option')} --api-key={hunter('key')}",
            f"true -H 'Authorization: Bearer {hunter('header')}'",
            f"env my_token={hunter('lower')} true",
        ):
            node.execute(command)
            node.execute(command, shell=True)
        with contextlib.suppress(LisaException):
            node.execute(f"sleep 9 --password {hunter('late')}", timeout=1)
        assert_that(result.stdout).is_empty()

    @TestCaseMetadata(description="in a command of LISA's that fails")
    @container_test(image=BUSYBOX)
    def leak_node_failed(self, node: Node) -> None:
        command = f"false --password {hunter('failed')}"
        node.execute(command, shell=True, expected_exit_code=0)
