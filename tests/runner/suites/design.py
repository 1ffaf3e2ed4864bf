"""Examples of the design that this package grew from, word for word apart from the images."""

from __future__ import annotations

from assertpy import assert_that
from lisa import Node, TestCaseMetadata, TestSuite, TestSuiteMetadata
from lisa.tools import Uname

from lisa_container import (
    ConfigError,
    ContainerExecutor,
    ContainerTestConfig,
    ContainerTestSuite,
    container_test,
)

BUSYBOX = "lisa_container/busybox"


@TestSuiteMetadata(
    area="container", category="functional", description="Host and container side by side"
)
class HostMountSuite(ContainerTestSuite):
    def _get_container_config(self) -> ContainerTestConfig:
        return ContainerTestConfig(image=BUSYBOX, privileged=True, mount_host_root=True)

    def _prepare_container(self, node: Node) -> None:
        super()._prepare_container(node)
        self._run_in_container(node, "mkdir -p /prepared && echo once >>/prepared/times")

    @TestCaseMetadata(description="the host's root is at /host", priority=0)
    def design_host_root(self, container: ContainerExecutor, host: Node) -> None:
        assert_that(container.run("cat /host/etc/machine-id").stdout).is_equal_to(
            host.execute("cat /etc/machine-id").stdout
        )

    @TestCaseMetadata(description="commands in the suite's container", priority=1)
    def design_run_in_container(self, node: Node) -> None:
        result = self._run_in_container(
            node,
            "pwd; echo $MODE",
            working_dir="/prepared",
            environment={"MODE": "kernel"},
        )
        assert_that(result.stdout.split()).is_equal_to(["/prepared", "kernel"])
        # Prepared once for each case that needs the container.
        times = self._run_in_container(node, "wc -l </prepared/times").stdout
        assert_that(times).is_equal_to("2")

    @TestCaseMetadata(description="commands in a container of their own", priority=2)
    def design_own_container(self, node: Node) -> None:
        result = self._run_in_container(
            node,
            "pwd; echo $MODE; ls /host/etc/hostname; ls /prepared",
            working_dir="/tmp",
            environment={"MODE": "kernel"},
            remove=True,
            detach=False,
            name="design_own",
        )
        assert_that(result.stdout.split()).is_equal_to(["/tmp", "kernel", "/host/etc/hostname"])
        assert_that(result.stderr).contains("/prepared")
        detached = self._run_in_container(node, "echo out", detach=True, remove=False)
        docker = self._prepare_container(node).docker
        assert_that(docker.wait(detached.stdout, 20)).is_equal_to(0)
        assert_that(docker.logs(detached.stdout)).is_equal_to("out\n")
        docker.remove_container(detached.stdout, force=True)
        assert_that(docker.list(all=True, name="design_own")).is_empty()
        with assert_raises("'cwd' and 'working_dir': both"):
            self._run_in_container(node, "true", cwd="/", working_dir="/")
        with assert_raises("'cwd' and 'working_dir': both"):
            self._run_in_container(node, "true", cwd="/", working_dir="/", remove=True)
        with assert_raises("stdin: legal only for a command in a running container"):
            self._run_in_container(node, "cat", stdin="x", name="design_own")

    @TestCaseMetadata(description="any LISA code runs inside", priority=3)
    @container_test(image=BUSYBOX, environment={"MODE": "kernel"})
    def design_inside(self, node: Node) -> None:
        assert_that(node.execute("echo $MODE", shell=True).stdout).is_equal_to("kernel")
        assert_that(node.tools[Uname].get_linux_information().operating_system).contains("Linux")


@TestSuiteMetadata(area="container", category="functional", description="No suite of ours.")
class OwnExecutorSuite(TestSuite):
    @TestCaseMetadata(description="a container within a case")
    def design_executor(self, node: Node) -> None:
        config = ContainerTestConfig(image=BUSYBOX)
        with ContainerExecutor(node, config) as container:
            assert_that(container.run("uname -s").stdout).is_equal_to("Linux")
            names = [item["Names"] for item in container.docker.list()]
            assert_that(names).contains([f"/{container.name}"])
        with assert_raises("volumes: a config cannot be changed"):
            config.volumes["/host"] = "/"  # type: ignore[index]


class assert_raises:  # noqa: N801
    """Check in a `with` block that a ConfigError is raised whose message begins with a text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        assert_that(error).is_instance_of(ConfigError)
        assert_that(str(error)).starts_with(self._text)
        return True
