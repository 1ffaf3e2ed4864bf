"""Readiness checks: each becomes true only with what it waits for, on docker and on podman."""

from __future__ import annotations

import time
from typing import Any, Callable

import pytest
from lisa.node import Node

from lisa_container import ConfigError, ContainerExecutor, ContainerTestConfig
from lisa_container.errors import ContainerStartError
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import BUSYBOX

pytest_plugins = ["tests.support.boxes"]

Fresh = Callable[..., ContainerExecutor]

# Serves a file on port 8080 after a second, says so, and answers other paths with 404.
SERVE = (
    "mkdir /www && echo state: up >/www/health && echo begun; sleep 1; echo open on 8080; "
    "exec httpd -f -p 8080 -h /www"
)
SERVICE: dict[str, Any] = {"command": ["sh", "-c", SERVE], "init": "engine"}


@pytest.mark.parametrize(
    "ready",
    [
        {"port": 8080},
        {"http": 8080, "path": "/health", "body": "^state: up"},
        {"http": 8080, "path": "/missing", "status": 404},
        {"log": "^open on [0-9]+$"},
        {"any": [{"port": 1}, {"port": 8080}]},
        ["true", {"port": 8080}, {"log": "begun"}],
        "wget -q -O /dev/null http://127.0.0.1:8080/health",
    ],
    ids=str,
)
def test_ready(ready: Any, fresh: Fresh) -> None:
    started = time.monotonic()
    container = fresh(ready=ready, **SERVICE)
    assert time.monotonic() - started > 1
    assert "open on 8080" in container.logs()
    assert container.run("wget -q -O - http://127.0.0.1:8080/health").stdout == "state: up"


@pytest.mark.parametrize(
    ("ready", "reason"),
    [
        ({"port": 8081}, "nothing in it listens on TCP port 8081"),
        ({"http": 8081}, "GET / on port 8081 failed: "),
        ({"http": 8080}, "GET / on port 8080 was answered with status 404 instead of 200"),
        (
            {"http": 8080, "path": "/health", "body": "down"},
            "the answer to GET /health on port 8080 does not match 'down': state: up",
        ),
        ({"log": "never"}, "no line of its log matches 'never'"),
        (
            {"any": [{"port": 1}, "exit 3"]},
            "nothing in it listens on TCP port 1; 'exit 3' ended with exit code 3",
        ),
        ([{"port": 8080}, {"port": 2}], "nothing in it listens on TCP port 2"),
    ],
    ids=str,
)
def test_not_ready(
    ready: Any,
    reason: str,
    node: Node,
    machine: SandboxNode,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The error names the check and has the end of the log; the container is gone."""
    config = ContainerTestConfig(image=BUSYBOX, ready=ready, startup_timeout=3, **SERVICE)
    with pytest.raises(ContainerStartError) as caught, ContainerExecutor(node, config):
        pass
    message = str(caught.value)
    assert "it was not ready in 3 seconds (startup_timeout): " in message and reason in message
    assert "open on 8080" in message, "the log"
    assert "open FAILED" not in caplog.text, "each refused connection"
    assert machine.run(["docker", "ps", "-aq"]).stdout == ""


@pytest.mark.parametrize("mode", ["host", "none", "container"])
def test_networks(mode: str, fresh: Fresh) -> None:
    """A port is found in any network; a request goes to the network of another container."""
    if mode == "container":
        other = fresh(ready={"port": 8080}, **SERVICE)
        check = {"http": 8080, "path": "/health"}
        assert fresh(network_mode=f"container:{other.name}", ready=check).is_running
    else:
        assert fresh(network_mode=mode, ready={"port": 8080}, **SERVICE).is_running


def test_health(node: Node, fresh: Fresh) -> None:
    """The image's HEALTHCHECK is awaited where it is asked for, and its lack is an error at once."""
    build = {
        "dockerfile_inline": f"FROM {BUSYBOX}\n"
        "HEALTHCHECK --interval=1s CMD test -e /up\nCMD sleep 1; touch /up; sleep 1000"
    }
    config = ContainerTestConfig(build=build, init="image", ready={"healthcheck": True})
    with ContainerExecutor(node, config) as container:
        assert container.run("test -e /up").exit_code == 0
    with pytest.raises(ConfigError, match="the container's image has no HEALTHCHECK"):
        fresh(ready={"healthcheck": True}, **SERVICE)
