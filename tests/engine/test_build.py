"""Images built on a node from a Dockerfile."""

from __future__ import annotations

import functools
import logging
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from lisa.node import Node

from lisa_container import (
    ConfigError,
    ContainerExecutor,
    ContainerTestConfig,
    DockerAdvanced,
    ImageNotFoundError,
)
from lisa_container.config import BuildSpec, PullPolicy
from lisa_container.engine.activity import Activity
from lisa_container.engine.client import Engine
from lisa_container.errors import EngineTimeoutError, ImageBuildError
from lisa_container.images import build_image, image_from_layers
from lisa_container.images.build import build
from lisa_container.platforms.sandbox import SandboxNode, start_sandbox
from tests.support.engines import MORE_PACKAGES
from tests.support.nodes import BUSYBOX, connect_as, disconnect
from tests.support.waiting import eventually

PASSWORD = "hunter2 is my pass"


@pytest.fixture
def engine(node: Node) -> Engine:
    return node.tools[DockerAdvanced].engine


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "files" / "sub").mkdir(parents=True)
    (folder / "files" / "tool").write_text("#!/bin/sh\necho tool of $WHO\n")
    (folder / "files" / "tool").chmod(0o755)
    (folder / "files" / "sub" / "link").symlink_to("../tool")
    (folder / "files" / "big.log").write_bytes(b"x" * 100_000)
    (folder / ".dockerignore").write_text("**/*.log\n")
    (folder / "Dockerfile").write_text(
        f"ARG BASE={BUSYBOX}\nFROM $BASE\nARG WHO=nobody\nENV WHO=$WHO\n"
        "COPY . /context\nRUN echo built >/result\n"
    )
    return folder


def builds(machine: SandboxNode) -> list[str]:
    words = "docker images --format '{{.Repository}}:{{.Tag}}' lisa_container/build"
    return sorted(machine.run(words).stdout.split())


def test_from_a_context(node: Node, context: Path) -> None:
    """A build sees the context's files without ignored ones and without files of the package."""
    config = ContainerTestConfig(build={"context": str(context), "args": {"WHO": "you"}})
    with ContainerExecutor(node, config) as container:
        assert container.run("/context/files/sub/link; cat /result").stdout == "tool of you\nbuilt"
        found = container.run("cd /context; find . | sort").stdout.split()
        assert found == [
            *(".", "./.dockerignore", "./Dockerfile"),
            *("./files", "./files/sub", "./files/sub/link", "./files/tool"),
        ]
        assert container.run("stat -c '%a %u' /context/files/tool").stdout == "755 0"
    # The other ways to use a config.
    docker = node.tools[DockerAdvanced]
    result = docker.run_in_container("", "/context/files/tool", build=config.build)
    assert result.stdout == "tool of you"
    with ContainerExecutor(node, config) as container:
        (Path(context) / "files" / "jq").write_text("")


def test_the_same_is_not_built_twice(
    node: Node, engine: Engine, machine: SandboxNode, context: Path, monkeypatch: Any
) -> None:
    """An unchanged build sends no request; a change of any input makes another image."""
    asked: list[int] = []
    real = engine.api.build_progress
    monkeypatch.setattr(
        engine.api, "build_progress", lambda *words: (asked.append(1), real(*words))[1]
    )
    spec = BuildSpec(str(context))
    first = build_image(engine, spec)
    (context / "files" / "big.log").write_text("is ignored")
    os.utime(context / "files" / "tool", (1, 1))
    assert build_image(engine, spec) == first and len(asked) == 1
    seen = {first}
    other = image_from_layers(
        [{"bin/busybox": Path(f"/proc/{machine.pid}/root/bin/busybox"), "bin/sh": b"x"}]
    )
    for change in (
        lambda: BuildSpec(str(context), args={"WHO": "x"}),
        lambda: (context / "files" / "tool").write_text("#!/bin/sh\n") and spec,
        lambda: (context / "Dockerfile").write_text(f"FROM {BUSYBOX}\nRUN true\n") and spec,
        lambda: (context / "Dockerfile").write_text(f"FROM {other.reference}\n") and spec,
    ):
        found = build_image(engine, change())
        assert found not in seen
        seen.add(found)
    assert len(asked) == len(seen) == 5
    assert seen <= set(builds(machine))


def test_another_image_below(engine: Engine, machine: SandboxNode) -> None:
    """A new image under the base's name causes a new build, since the base's id counts."""
    build_image(engine, BuildSpec(dockerfile_inline=f"FROM {BUSYBOX}\n"))
    spec = BuildSpec(dockerfile_inline="FROM tests/base:1\nRUN true\n")
    machine.run(f"docker tag {BUSYBOX} tests/base:1")
    first = build_image(engine, spec)
    machine.run(f"docker tag {first} tests/base:1")
    second = build_image(engine, spec)
    machine.run(f"docker tag {BUSYBOX} tests/base:1")
    assert build_image(engine, spec) == first != second


def test_outlives_the_run(machine: SandboxNode, context: Path) -> None:
    """A built image is a cache that outlives the run; nothing else of the build does."""
    before = machine.run("docker images -q").stdout.split()
    spec = BuildSpec(dockerfile_inline=f"FROM {BUSYBOX}\nRUN echo {os.urandom(4).hex()}\n")
    node = connect_as(machine, "root")
    reference = build_image(Engine.of(node), spec)
    disconnect(node)
    assert reference in builds(machine)
    after = machine.run("docker images -q").stdout.split()
    assert len(after) == len(before) + 1
    assert machine.run("docker ps -aq").stdout == ""
    label = '{{index .Config.Labels "lisa_container.lease"}}'
    assert machine.run(["docker", "inspect", "-f", label, reference]).stdout.strip() == ""


def test_stages(engine: Engine, node: Node, machine: SandboxNode) -> None:
    text = (
        f"FROM {BUSYBOX} AS build\nRUN echo of-build >/x\n"
        f"FROM {BUSYBOX} AS mid\nCOPY --from=build /x /y\n"
        "FROM scratch\nCOPY --from=mid /y /y\nRUN exit 1\n"
    )
    reference = build_image(engine, BuildSpec(dockerfile_inline=text, target="mid"))
    docker = node.tools[DockerAdvanced]
    assert docker.run_in_container(reference, "cat /y").stdout == "of-build"


def test_a_step_that_fails(
    engine: Engine,
    machine: SandboxNode,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error of a build has the user's own step; neither it nor any log has a secret."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(logging.getLogger("lisa"), "propagate", True)
    before = builds(machine)
    text = (
        f"FROM {BUSYBOX}\nARG API_TOKEN\nRUN true\n"
        "RUN echo first $API_TOKEN; echo why >&2; exit 3\nRUN true\n"
    )
    spec = BuildSpec(dockerfile_inline=text, args={"API_TOKEN": PASSWORD})
    assert PASSWORD not in repr(spec)
    with pytest.raises(ImageBuildError) as caught:
        build_image(engine, spec)
    error = caught.value
    assert error.step.startswith("4/5: RUN echo first")
    assert (error.exit_code, sorted(error.output.split("\n"))) == (3, ["", "first ***", "why"])
    log = Path(error.log).read_text()
    assert "RUN true" in log and "first ***" in log
    assert "in step 4/5" in str(error)
    assert "'API_TOKEN' looks like a secret" in caplog.text
    for said in (str(error), log, caplog.text):
        assert PASSWORD not in said
        assert quote(PASSWORD) not in said and quote_plus(PASSWORD) not in said
    assert builds(machine) == before
    assert machine.run("docker ps -aq").stdout == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"FROM {BUSYBOX}\n\nRUM true\n", "(?i)line 3: unknown instruction: RUM"),
        (f"FROM {BUSYBOX}\nCOPY none /\n", "none"),
    ],
)
def test_wrong_dockerfiles(engine: Engine, text: str, message: str) -> None:
    with pytest.raises(ImageBuildError, match=message):
        build_image(engine, BuildSpec(dockerfile_inline=text))


def test_before_anything(engine: Engine, machine: SandboxNode, node: Node, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="build.dockerfile"):
        ContainerExecutor(node, ContainerTestConfig(build=str(tmp_path)))
    with pytest.raises(ConfigError, match="without FROM"):
        build_image(engine, BuildSpec(dockerfile_inline="RUN true"))
    spec = BuildSpec(dockerfile_inline="FROM none.invalid/none:1\n")
    with pytest.raises(ImageNotFoundError, match="pull_policy is 'never'"):
        build_image(engine, spec, PullPolicy.NEVER)


def test_a_step_that_hangs(engine: Engine, machine: SandboxNode) -> None:
    spec = BuildSpec(dockerfile_inline=f"FROM {BUSYBOX}\nRUN sleep 1000\n")
    with pytest.raises(EngineTimeoutError, match="2/2: RUN sleep 1000"):
        build_image(engine, spec, timeout=2)
    assert eventually(lambda: "sleep 1000" not in machine.run("ps -eo args").stdout)
    assert eventually(lambda: machine.run("docker ps -aq").stdout == "")


def test_progress(
    engine: Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build logs its start, some lines with the step's own output, and its end."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(logging.getLogger("lisa"), "propagate", True)
    monkeypatch.setattr(build, "Activity", functools.partial(Activity, period=0.1))
    text = f"FROM {BUSYBOX}\nRUN sleep 1; echo compiling; sleep 1\n"
    reference = build_image(engine, BuildSpec(dockerfile_inline=text))
    said = [x.getMessage() for x in caplog.records if vars(x).get("is_lisa_container_notice")]
    assert said[0].startswith(f"building image '{reference}' on node ") and said[0][-1] == "…"
    assert any(line.endswith(" s: step 2/2: RUN sleep 1; echo compiling; sleep 1") for line in said)
    assert any(line.endswith(" s: compiling") for line in said)
    assert ": done in " in said[-1]


def test_a_large_context(engine: Engine, machine: SandboxNode, tmp_path: Path) -> None:
    """A large context is sent while it is read, without being held in memory."""
    with (tmp_path / "large").open("wb") as file:
        file.truncate(300_000_000)
    (tmp_path / "Dockerfile").write_text(f"FROM {BUSYBOX}\n")
    before = peak()
    build_image(engine, BuildSpec(str(tmp_path)))
    assert peak() - before < 60_000


def peak() -> int:
    """Return the peak of this process's memory in KiB, proc(5)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def test_podman(tmp_path: Path, context: Path) -> None:
    with start_sandbox(1, packages=MORE_PACKAGES, docker=False) as sandbox:
        machine = sandbox.nodes[0]
        machine.run("rm /etc/init.d/docker /usr/sbin/dockerd")
        machine.run("mkdir -p /var/lib/docker/podman /var/lib/containers")
        machine.run("mount --bind /var/lib/docker/podman /var/lib/containers")
        node = connect_as(machine, "root")
        config = ContainerTestConfig(build=str(context))
        with ContainerExecutor(node, config) as container:
            said = container.run("/context/files/tool; cd /context; find . -name '.[a-z]*'").stdout
            assert said == "tool of nobody\n./.dockerignore"
        engine = Engine.of(node)
        text = f"FROM {BUSYBOX}\nRUN echo why; exit 3\n"
        with pytest.raises(ImageBuildError) as caught:
            build_image(engine, BuildSpec(dockerfile_inline=text))
        assert (caught.value.exit_code, caught.value.step) == (3, "2/2: RUN echo why; exit 3")
        assert "why" in caught.value.output
        disconnect(node)
        left = machine.run("podman images --format '{{.Repository}}'").stdout.split()
        assert [name.rpartition("/")[2] for name in sorted(left)] == ["build", "busybox"]
