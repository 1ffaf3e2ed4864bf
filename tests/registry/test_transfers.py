"""Pulls that are redirected, cut, stalled, watched and shared."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator

import pytest

from lisa_container import ContainerExecutor, ContainerTestConfig
from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.engine import progress
from lisa_container.errors import EngineTimeoutError, NoSpaceError
from lisa_container.images import transfer
from tests.support.engines import cut_connections
from tests.support.nodes import connect_as, disconnect
from tests.support.registries import OPEN, Shelf, serve_middleman, tags
from tests.support.waiting import eventually

PORT = 5010


@pytest.fixture
def middleman(shelf: Shelf, request: pytest.FixtureRequest) -> Iterator[str]:
    """Start a server in front of the open registry; return the name of a large image."""
    what, times = request.param
    pid = serve_middleman(shelf.machine, PORT, what, times)
    yield f"127.0.0.1:{PORT}/team/large:1"
    shelf.machine.run(["kill", pid])


def asked(shelf: Shelf) -> list[str]:
    """Return the middleman's log of requests for the large layer."""
    lines = shelf.machine.run(f"cat /root/{PORT}.log").stdout.splitlines()
    return [line for line in lines if line.startswith("GET") and shelf.digests["large"] in line]


@pytest.mark.parametrize("middleman", [("redirect", 9)], indirect=True)
def test_redirect(docker: DockerAdvanced, shelf: Shelf, middleman: str) -> None:
    """A layer is pulled from another server, like that of registries with separate storage."""
    served = f"grep -c '\"GET /v2/team/large/blobs/{shelf.digests['large']}' /root/open.log || true"
    before = int(shelf.machine.run(served).stdout)
    docker.pull_image(middleman)
    assert tags(shelf) == [middleman]
    assert len(asked(shelf)) == 1
    assert int(shelf.machine.run(served).stdout) > before


@pytest.mark.parametrize("middleman", [("cut", 1)], indirect=True)
def test_cut(docker: DockerAdvanced, shelf: Shelf, middleman: str) -> None:
    """The engine continues a cut download."""
    docker.pull_image(middleman)
    assert tags(shelf) == [middleman]
    first, second = asked(shelf)
    assert "bytes=" not in first and "bytes=" in second


@pytest.mark.parametrize("middleman", [("stall", 1)], indirect=True)
def test_stall(
    docker: DockerAdvanced, shelf: Shelf, middleman: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stalled download is started again."""
    monkeypatch.setattr(transfer, "_LEAST", 0.0)
    docker.pull_image(middleman, timeout=6)
    assert tags(shelf) == [middleman]
    assert len(asked(shelf)) == 2


@pytest.mark.parametrize("middleman", [("stall", 9)], indirect=True)
def test_stall_for_ever(docker: DockerAdvanced, shelf: Shelf, middleman: str) -> None:
    started = time.monotonic()
    with pytest.raises(EngineTimeoutError, match="pulling image .* in 1 seconds"):
        docker.pull_image(middleman, timeout=1)
    assert time.monotonic() - started < 12
    assert len(asked(shelf)) == 3
    assert tags(shelf) == []


@pytest.mark.parametrize("middleman", [("slow", 9)], indirect=True)
def test_ssh_is_cut(shelf: Shelf, middleman: str) -> None:
    """A pull is finished over a new connection after a cut."""
    node = connect_as(shelf.machine, "sudo")
    docker = node.tools[DockerAdvanced]
    assert docker.engine.ping()
    cutter = threading.Thread(
        target=lambda: (
            eventually(
                lambda: (
                    "GET /v2/team/large/blobs" in shelf.machine.run(f"cat /root/{PORT}.log").stdout
                ),
                10,
            )
            and (time.sleep(0.3), cut_connections(shelf.machine, shelf.machine.username))
        )
    )
    cutter.start()
    docker.pull_image(middleman)
    cutter.join()
    assert tags(shelf) == [middleman]
    disconnect(node)


@pytest.mark.parametrize("middleman", [("slow", 9)], indirect=True)
def test_progress_in_the_log(
    docker: DockerAdvanced,
    middleman: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress.Progress.__init__, "__defaults__", (0.3,))
    logging.getLogger("lisa").addHandler(caplog.handler)
    try:
        docker.pull_image(middleman)
    finally:
        logging.getLogger("lisa").removeHandler(caplog.handler)
    told = re.findall(
        r"pulling image '\S+' on node '\S+': (\d+)% \(\S+ of \S+ MiB, \S+ MiB/s\)", caplog.text
    )
    assert 2 <= len(told) < 20, caplog.text
    assert sorted(map(int, told)) == list(map(int, told))


def test_full_disk(docker: DockerAdvanced, shelf: Shelf) -> None:
    """The error names the full disk of Docker's downloads."""
    folder = "/var/lib/docker/tmp"
    shelf.machine.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder])
    try:
        with pytest.raises(NoSpaceError, match="no space is left on node"):
            docker.pull_image(f"{OPEN}/team/large:1")
    finally:
        shelf.machine.run(["umount", folder])
    docker.pull_image(f"{OPEN}/team/large:1")


def test_shared(docker: DockerAdvanced, shelf: Shelf) -> None:
    """Two suites that want one image at the same time pull it once."""
    config = ContainerTestConfig(image=f"{OPEN}/team/tool:2")
    machine = shelf.machine

    def manifests() -> int:
        said = machine.run("grep -c '\"GET /v2/team/tool/manifests/' /root/open.log || true")
        return int(said.stdout)

    before, results = manifests(), []

    def work() -> None:
        with ContainerExecutor(docker.node, config) as container:
            results.append(container.run("cat /tag").stdout)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["2"] * 4
    assert manifests() - before == 1
