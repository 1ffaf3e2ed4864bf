"""Suite with one shared container in which the host's root is mounted."""

from __future__ import annotations

from assertpy import assert_that
from lisa import Logger, Node, TestCaseMetadata, TestSuiteMetadata
from lisa.util import SkippedException

from lisa_container import ContainerExecutor, ContainerTestConfig, ContainerTestSuite

from .image import container_image


@TestSuiteMetadata(
    area="container",
    category="functional",
    description="""
    Compares host and container: their common kernel, and the host's root in the container.
    """,
)
class HostAndContainer(ContainerTestSuite):
    """Suite whose cases share a container, though LISA creates a new suite object for each case."""

    def _get_container_config(self) -> ContainerTestConfig:
        return ContainerTestConfig(
            image=container_image(self), privileged=True, mount_host_root=True
        )

    @TestCaseMetadata(description="The host's root is at /host.", priority=1)
    def verify_host_root(self, container: ContainerExecutor, host: Node) -> None:
        in_container = container.run("cat /host/etc/hostname", expected_exit_code=0)
        assert_that(in_container.stdout).is_equal_to(host.execute("cat /etc/hostname").stdout)

    @TestCaseMetadata(description="A later mount of the host appears at /host.", priority=2)
    def verify_later_mount(self, container: ContainerExecutor, host: Node) -> None:
        if " /host " not in container.run("grep master: /proc/self/mountinfo").stdout:
            raise SkippedException(
                "the node's root is a private mount, so later mounts do not appear"
            )
        folder = f"/mnt/{container.name}"
        host.execute(f"mkdir {folder}", sudo=True, expected_exit_code=0)
        try:
            host.execute(f"mount -t tmpfs later {folder}", sudo=True, expected_exit_code=0)
            host.execute(f"touch {folder}/seen", sudo=True, expected_exit_code=0)
            container.run(f"test -e /host{folder}/seen", expected_exit_code=0)
        finally:
            host.execute(f"umount {folder}", sudo=True)
            host.execute(f"rmdir {folder}", sudo=True)

    @TestCaseMetadata(description="Container and host share a kernel.", priority=1)
    def verify_one_kernel(self, container: ContainerExecutor, host: Node) -> None:
        assert_that(container.run("uname -r -v").stdout).is_equal_to(
            host.execute("uname -r -v").stdout
        )

    @TestCaseMetadata(
        description="""
        System calls that fail in a default container work in a privileged one: it can mount a file
        system, create a device and enter new namespaces.
        """,
        priority=1,
    )
    def verify_privileged_calls(self, container: ContainerExecutor, log: Logger) -> None:
        for call, command in {
            "mount(2)": "mkdir -p /tmp/m && mount -t tmpfs none /tmp/m && umount /tmp/m",
            "mknod(2)": "mknod /tmp/null c 1 3 && echo x > /tmp/null && rm /tmp/null",
            "unshare(2)": "unshare -m true",
            "sethostname(2)": "unshare -u hostname another",
        }.items():
            log.info(f"{call}: {command}")
            container.run(
                command,
                expected_exit_code=0,
                expected_exit_code_failure_message=f"{call} is refused in a privileged container",
            )

    @TestCaseMetadata(description="stdout, stderr and exit code are separate.", priority=1)
    def verify_streams(self, container: ContainerExecutor) -> None:
        result = container.run("echo out; echo err >&2; exit 3")
        assert_that(result.stdout).is_equal_to("out")
        assert_that(result.stderr).is_equal_to("err")
        assert_that(result.exit_code).is_equal_to(3)
