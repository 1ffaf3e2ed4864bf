"""LISA's own Docker suite works the same with DockerAdvanced as with LISA's Docker tool."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from lisa.microsoft.testsuites.docker import dockersuite
from lisa.node import Node
from lisa.testsuite import get_suites_metadata
from lisa.tools import Docker

from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.errors import ContainerError
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import BUSYBOX

IDENTIFIER = "Hello from the container"


@pytest.fixture(scope="module", params=[Docker, DockerAdvanced])
def tool(request: pytest.FixtureRequest, node: Node) -> Iterator[Docker]:
    """Put each of the two tools into LISA's suite, on a node that has the images."""
    node.tools[DockerAdvanced].run_in_container(BUSYBOX, "true")
    client = node.tools[DockerAdvanced].client
    client.images.get(BUSYBOX).tag("hello-world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dockersuite, "Docker", request.param)
        tool = node.tools[request.param]
        assert type(tool) is request.param
        yield tool
    client.images.remove("hello-world")


@pytest.fixture(scope="module")
def suite() -> Any:
    metadata = get_suites_metadata()["DockerTestSuite"]
    return metadata.test_class(metadata)


@pytest.fixture()
def dockerfile(node: Node, machine: SandboxNode) -> Iterator[str]:
    """Write a Dockerfile in the place of the suite's own."""
    path = node.working_path / "own.Dockerfile"
    machine.run(f"cat > {path}", stdin=f'FROM {BUSYBOX}\nCMD ["echo", "{IDENTIFIER}"]\n')
    yield path.name
    machine.run(f"rm {path}")
    # LISA's suite leaves the container that tries the engine.
    machine.run("docker ps -aq --filter ancestor=hello-world | xargs -r docker rm")


def images(node: Node) -> list[str]:
    found = node.tools[DockerAdvanced].client.images.list()
    return [tag for image in found for tag in image.tags]


def test_a_whole_case(suite: Any, tool: Docker, node: Node, dockerfile: str) -> None:
    """A case starts the engine, removes an unknown image, builds, runs, compares, removes."""
    suite._execute_docker_test(node, "own-image", IDENTIFIER, "", dockerfile)
    assert "own-image:latest" not in images(node)


def test_a_case_that_fails(suite: Any, tool: Docker, node: Node, dockerfile: str) -> None:
    with pytest.raises(AssertionError, match="didn't output expected result"):
        suite._execute_docker_test(node, "own-image", "something else", "", dockerfile)


def test_build_fails(tool: Docker, node: Node, machine: SandboxNode) -> None:
    """A failed build raises an error, LISA's after ten tries."""
    if type(tool) is Docker:
        return
    machine.run(f"printf 'FROM {BUSYBOX}\\nRUN echo why; exit 3\\n' > {node.working_path}/bad")
    with pytest.raises(AssertionError, match="(?s)building image 'bad-image' on .* failed.*why"):
        tool.build_image("bad-image", "bad")
    machine.run(f"rm {node.working_path}/bad")


def test_run_container(tool: Docker) -> None:
    result = tool.run_container(BUSYBOX, command="sh -c 'echo out; exit 0'")
    assert (result.stdout, result.exit_code) == ("out", 0)
    assert tool.run_container(BUSYBOX, command="false", expected_exit_code=None).exit_code == 1
    with pytest.raises(AssertionError):
        tool.run_container(BUSYBOX, command="false")


def test_extra_args(tool: Docker, node: Node, machine: SandboxNode) -> None:
    """Extra arguments for the docker command may name a file of the node, a seccomp profile."""
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_ERRNO"}],
    }
    path = node.working_path / "deny.json"
    machine.run(f"cat > {path}", stdin=json.dumps(profile))
    command = "sh -c 'touch test_file && chmod 600 test_file'"
    denied = tool.run_container(
        BUSYBOX,
        command=command,
        extra_args=f"--security-opt seccomp={path}",
        expected_exit_code=None,
    )
    assert denied.exit_code == 1
    assert "Operation not permitted" in denied.stdout + denied.stderr
    assert tool.run_container(BUSYBOX, command=command).exit_code == 0
    machine.run(f"rm {path}")


def test_named_container(tool: Docker, node: Node) -> None:
    """A named container is kept; removing a missing container or image is no error."""
    tool.run_container(BUSYBOX, ephemeral=False, container_name="named", command="echo kept")
    tool.remove_container("named")
    assert node.tools[DockerAdvanced].list(all=True, name="named") == []
    tool.remove_container("named")
    tool.remove_image("there-is-none nor-this")


def test_exec_command(tool: Docker, node: Node) -> None:
    ours = node.tools[DockerAdvanced]
    ours.run_in_container(BUSYBOX, ["sleep", "100"], name="running", detach=True, remove=False)
    try:
        assert "sleep 100" in tool.exec_command("running", "ps ax")
        assert tool.exec_command("running", "sh -c 'echo a  b'") == "a b"
        tool.remove_container("running")
        assert [x["State"] for x in ours.list(name="running")] == ["running"]
    finally:
        ours.remove_container("running", force=True)


def test_info(tool: Docker) -> None:
    assert "seccomp" in tool.info().lower()


def test_pull_that_fails(tool: Docker) -> None:
    with pytest.raises((AssertionError, ContainerError), match="127.0.0.1:1/there-is-none"):
        tool.pull_image("127.0.0.1:1/there-is-none:1", 60)


def test_start(tool: Docker) -> None:
    tool.start()
    assert tool.exists
