"""Containers with a first process of their own: services, and systemd."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import pytest
from lisa.node import Node

from lisa_container import ContainerExecutor, ContainerTestConfig, DockerAdvanced
from lisa_container.container import ready
from lisa_container.engine.activity import Activity
from lisa_container.engine.client import Engine
from lisa_container.errors import ContainerDiedError
from lisa_container.install import Tool
from lisa_container.node import ContainerNode
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import BUSYBOX, containers

pytest_plugins = ["tests.support.boxes"]

Fresh = Callable[..., ContainerExecutor]

# Ends only by SIGTERM, and says so on the node.
SERVICE = "trap 'echo ended >/out/end; exit' TERM; touch /up; while :; do sleep 0.1; done"
SYSTEMD = Tool("systemd-sysv", verify="test -e /sbin/init", packages=("dbus",))


@pytest.fixture(scope="module")
def service(node: Node) -> Iterator[str]:
    """Make an image with an entrypoint, a command and a stop signal of its own."""
    engine = Engine.of(node)
    name = "lisa_container_tests/service"
    with ContainerExecutor(node, ContainerTestConfig(image=BUSYBOX)) as box:
        conf = {"Entrypoint": ["sh", "-c"], "Cmd": [SERVICE]}
        engine.api.commit(box.id, name, conf=conf)
    yield name
    engine.api.remove_image(name)


def first_process(container: ContainerExecutor) -> str:
    return container.run("tr '\\0' ' ' </proc/1/cmdline").stdout


def test_image_is_first(fresh: Fresh, service: str, machine: SandboxNode) -> None:
    """The image's command is PID 1, is awaited by `ready`, and ends by its own signal."""
    folder = "/var/tmp/own_process"
    try:
        container = fresh(
            image=service, init="image", ready="test -e /up", volumes={folder: "/out"}
        )
        assert first_process(container).startswith("sh -c trap")
        assert container.run("ls /up").exit_code == 0
        container.run("rm /up")
        container.restart()
        assert machine.run(f"cat {folder}/end; rm {folder}/end").stdout == "ended\n"
        assert container.run("ls /up").exit_code == 0, "ready again after the restart"
        container.stop()
        assert machine.run(f"cat {folder}/end").stdout == "ended\n"
    finally:
        machine.run(f"rm -rf {folder}")


@pytest.mark.parametrize(
    ("config", "first"),
    [
        ({}, "/sbin/docker-init"),
        ({"command": ["exec sleep 500"]}, "sleep 500"),
        ({"entrypoint": "sleep", "command": ["501"]}, "sleep 501"),
        ({"entrypoint": ["/bin/sleep", "502"], "init": "image"}, "/bin/sleep 502"),
        ({"entrypoint": "sleep 503", "init": "engine"}, "/sbin/docker-init"),
    ],
)
def test_first_process(fresh: Fresh, service: str, config: dict[str, str], first: str) -> None:
    container = fresh(image=service, **config)
    assert first_process(container).startswith(first)
    container.kill()  # it would take its time: a first process ignores most signals


def test_docker_advanced(node: Node, service: str) -> None:
    """`run_in_container` has the fields of the container's own process, too."""
    docker = node.tools[DockerAdvanced]
    result = docker.run_in_container(service, entrypoint="echo", command="two words")
    assert result.stdout == "two words"
    assert docker.run_in_container(BUSYBOX, entrypoint=["echo", "-n"]).stdout == ""
    assert docker.run_in_container(BUSYBOX, ["cat", "/proc/1/comm"], init="engine").stdout != "cat"


def test_wait_is_logged(
    fresh: Fresh, service: str, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]
) -> None:
    """A wait for `ready` logs its start, some lines with what is missing, and its end."""
    monkeypatch.setattr(ready, "_QUIET", 0.0)
    monkeypatch.setattr(ready, "Activity", functools.partial(Activity, period=0.2))
    up = ["sleep 2; touch /up; exec sleep 600"]
    container = fresh(image=service, command=up, init="engine", ready="test -e /up")
    what = f"waiting until container '{container.name}' on node '{container.engine.name}' is ready"
    said = [line for line in logged().splitlines() if line.startswith(what)]
    assert said[0] == f"{what}…"
    assert any(line.endswith(" s: 'test -e /up' ended with exit code 1") for line in said)
    assert said[-1].startswith(f"{what}: done in ")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"command": ["echo cannot open x >&2; exit 4"]}, "exit code 4: cannot open x"),
        ({"command": ["true"]}, "exit code 0"),
        (
            {"command": ["sleep 1; echo cannot open x >&2; exit 4"], "ready": "sleep 5"},
            "exit code 4: cannot open x",
        ),
        (
            {"init": "image", "ready": "echo not yet; false", "startup_timeout": 3},
            r"not ready in 3 seconds .*'echo not yet; false' ended with exit code 1: not yet",
        ),
        (
            {"ready": "test -e /never", "startup_timeout": 1},
            r"not ready in 1 seconds .*'test -e /never' ended with exit code 1$",
        ),
    ],
)
def test_never_ready(
    node: Node, service: str, machine: SandboxNode, config: dict[str, object], says: str
) -> None:
    """The error of a container that is never ready begins with the cause; nothing stays."""
    executor = ContainerExecutor(node, ContainerTestConfig(image=service).merged(**config))
    with pytest.raises(ContainerDiedError, match=says):
        executor.start()
    assert executor.name not in containers(machine)


def test_health(node: Node, fresh: Fresh, machine: SandboxNode) -> None:
    """A HEALTHCHECK of the image is awaited."""
    name = "lisa_container_tests/health"
    file = f"FROM {BUSYBOX}\\nHEALTHCHECK --interval=1s CMD test -e /tmp/up\\n"
    start = "sleep 0.5; touch /tmp/up; sleep 600"
    machine.run(f"printf '{file}' | docker build -t {name} -")
    try:
        container = fresh(image=name, command=["sh", "-c", start])
        assert container.run("ls /tmp/up").exit_code == 0
        assert container.inspect()["State"]["Health"]["Status"] == "healthy"
    finally:
        machine.run(f"docker rm -f $(docker ps -aqf ancestor={name}); docker rmi {name}")


@pytest.fixture(scope="module")
def systemd(node: Node, debian_image: str) -> Iterator[ContainerExecutor]:
    """Start a Debian with systemd as its first process."""
    builder = ContainerExecutor(node, ContainerTestConfig(image=debian_image))
    (record,) = builder.install(SYSTEMD, cached=True)
    config = ContainerTestConfig(image=record.layer, command="/sbin/init", privileged=True)
    with ContainerExecutor(node, config) as container:
        yield container


def test_systemd(systemd: ContainerExecutor) -> None:
    """A container with systemd is a LISA node whose units are up after its start."""
    assert systemd.run("cat /proc/1/comm").stdout == "systemd"
    assert systemd.run("systemctl is-system-running").stdout in ("running", "degraded")
    node: ContainerNode = systemd.node
    assert node.execute("systemctl is-active dbus", shell=True, sudo=True).stdout == "active"
    unit = "[Service]\nExecStart=/bin/sleep 4711\n"
    systemd.run(["sh", "-c", "cat >/etc/systemd/system/mine.service"], stdin=unit)
    systemd.run("systemctl daemon-reload && systemctl start mine", expected_exit_code=0)
    assert "/bin/sleep 4711" in systemd.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout

    before = systemd.inspect()["State"]["StartedAt"]
    node.reboot()
    assert systemd.inspect()["State"]["StartedAt"] != before
    assert systemd.run("systemctl is-system-running").stdout in ("running", "degraded")
    assert systemd.inspect()["State"]["ExitCode"] != 137, "it was halted, not killed"


def test_systemd_without_privileges(node: Node, systemd: ContainerExecutor) -> None:
    """The error of a failed systemd begins with the missing privileges."""
    config = systemd.config.merged(privileged=False, startup_timeout=10)
    with pytest.raises(ContainerDiedError, match="privileged: true"):
        ContainerExecutor(node, config).start()
