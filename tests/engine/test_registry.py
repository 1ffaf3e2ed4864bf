"""Pulling from a real registry, with and without credentials."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lisa.node import Node

from lisa_container.config import ContainerTestConfig
from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.engine.client import Engine
from lisa_container.errors import (
    ConfigError,
    EngineTimeoutError,
    ImageNotFoundError,
    ImageRateLimitError,
    ImageUnauthorizedError,
    RegistryUnreachableError,
    RegistryUntrustedError,
)
from lisa_container.images import ensure_image
from lisa_container.platforms.sandbox import SandboxNode, start_sandbox
from tests.support.engines import MORE_PACKAGES
from tests.support.nodes import BUSYBOX, connect_as, disconnect
from tests.support.registries import AUTH, give_accounts, serve_registry

OPEN, CLOSED, SILENT = "127.0.0.1:5000", "127.0.0.1:5001", "127.0.0.1:5002"
USER, PASSWORD = "reader", "pass word's $HOME"

# Answers a number of requests for a manifest with an error, and passes on to the open registry what
# comes then.
REFUSING = """
import http.server, json, sys, urllib.request

port, status, times = map(int, sys.argv[1:])


class Refusing(http.server.BaseHTTPRequestHandler):
    left = times

    def do_GET(self):
        if "/manifests/" in self.path and Refusing.left:
            Refusing.left -= 1
            body = json.dumps({"errors": [{"code": "TOOMANYREQUESTS", "message": "slow down"}]})
            self.answer(status, body.encode() if status == 429 else b"", {})
            return
        asked = urllib.request.Request("http://127.0.0.1:5000" + self.path, method=self.command)
        asked.headers = {"Accept": ", ".join(self.headers.get_all("Accept", ["*/*"]))}
        with urllib.request.urlopen(asked) as found:
            self.answer(found.status, found.read(), dict(found.headers))

    do_HEAD = do_GET

    def answer(self, status, body, headers):
        self.send_response(status)
        for name in ("Content-Type", "Docker-Content-Digest", "Docker-Distribution-Api-Version"):
            if name in headers:
                self.send_header(name, headers[name])
        self.send_header("Content-Length", str(len(body) or headers.get("Content-Length", 0)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


http.server.ThreadingHTTPServer(("0.0.0.0", port), Refusing).serve_forever()
"""


@pytest.fixture(scope="module")
def registries() -> Iterator[SandboxNode]:
    """Start two registries with `image:1` and `image:2`, one open and one with credentials."""
    with start_sandbox(1, packages=MORE_PACKAGES) as sandbox:
        machine = sandbox.nodes[0]
        give_accounts(machine, {USER: PASSWORD})
        serve_registry(machine, "open", OPEN)
        serve_registry(machine, "closed", CLOSED, AUTH)
        machine.run("cat >/root/refusing.py", stdin=REFUSING)
        for port, status, times in ((5003, 429, 99), (5004, 503, 2), (5005, 503, 99)):
            words = f"/root/refusing.py {port} {status} {times}"
            machine.run(f"setsid python3 {words} >/root/refusing-{port}.log 2>&1 &")
        # One that takes connections and never says a word.
        silent = (
            "import socket, time; s = socket.create_server(('127.0.0.1', 5002)); time.sleep(999)"
        )
        machine.run(f'setsid python3 -c "{silent}" >/dev/null 2>&1 &')
        yield machine


@pytest.fixture(scope="module")
def docker(registries: SandboxNode) -> Iterator[DockerAdvanced]:
    node: Node = connect_as(registries, "sudo")
    docker = node.tools[DockerAdvanced]
    docker.run_in_container(BUSYBOX, "true")
    for tag in ("1", "2"):
        docker.client.images.get(BUSYBOX).tag(f"{OPEN}/image", tag)
        pushed = docker.client.images.push(f"{OPEN}/image", tag)
        assert "errorDetail" not in pushed, pushed
        docker.remove_image(f"{OPEN}/image:{tag}", force=False)
    yield docker
    Engine.forget(node)
    disconnect(node)


@pytest.fixture(autouse=True)
def removed(docker: DockerAdvanced) -> Iterator[None]:
    """Remove the images from the node before and after each test."""
    yield
    for image in docker.client.images.list():
        for tag in image.tags:
            if "/image:" in tag:
                docker.remove_image(tag, force=True)


def tags(docker: DockerAdvanced) -> list[str]:
    found = [tag for image in docker.client.images.list() for tag in image.tags]
    return sorted(tag for tag in found if "/image:" in tag)


def test_pull(docker: DockerAdvanced) -> None:
    docker.pull_image(f"{OPEN}/image:1")
    assert tags(docker) == [f"{OPEN}/image:1"], "that tag only"
    docker.pull_image("image:2", registry=OPEN)
    assert tags(docker) == [f"{OPEN}/image:1", f"{OPEN}/image:2"]
    digest = docker.client.images.get(f"{OPEN}/image:1").attrs["RepoDigests"][0].split("@")[1]
    docker.pull_image(f"{OPEN}/image@{digest}")


def test_timeout_as_second_argument(docker: DockerAdvanced) -> None:
    """The second argument is the timeout, like in LISA's tool."""
    docker.pull_image(f"{OPEN}/image:1", 60)
    assert tags(docker) == [f"{OPEN}/image:1"]


@pytest.mark.parametrize(
    ("image", "kind", "words"),
    [
        (f"{OPEN}/image:there-is-none", ImageNotFoundError, "manifest unknown.*Check the name"),
        (f"{OPEN}/there-is-none:1", ImageNotFoundError, "(not found|unknown).*Check the name"),
        (f"{OPEN}/image@sha256:{'0' * 64}", ImageNotFoundError, "(not found|unknown).*Check"),
        ("127.0.0.1:1/image:1", RegistryUnreachableError, "connection refused.*the node that must"),
        ("there-is.none/image:1", RegistryUnreachableError, "lookup there-is.none.*the node that"),
        ("127.0.0.1:5003/image:1", ImageRateLimitError, "(?i)toomanyrequests.*Wait"),
        ("127.0.0.1:5005/image:1", RegistryUnreachableError, "(?i)503|unavailable"),
        (f"{CLOSED}/image:1", ImageUnauthorizedError, "no basic auth.*takes a username"),
    ],
)
def test_cannot_be_had(
    docker: DockerAdvanced, image: str, kind: type[ImageNotFoundError], words: str
) -> None:
    with pytest.raises(ImageNotFoundError, match=words) as caught:
        docker.pull_image(image)
    assert type(caught.value) is kind
    assert image in str(caught.value)


def test_untrusted_registry(docker: DockerAdvanced, registries: SandboxNode) -> None:
    """A registry without a trusted certificate, outside Docker's loopback, is refused."""
    with pytest.raises(RegistryUntrustedError, match="tls: .*CA certificate"):
        docker.pull_image(f"{registries.address}:5003/image:1")


def test_busy_registry(docker: DockerAdvanced) -> None:
    """A pull from a busy registry is tried again."""
    docker.pull_image("127.0.0.1:5004/image:1")
    assert tags(docker) == ["127.0.0.1:5004/image:1"]


def test_wrong_name(docker: DockerAdvanced) -> None:
    with pytest.raises(ConfigError, match="did you mean 'image:1'"):
        docker.pull_image("Image:1")


def test_credentials(docker: DockerAdvanced, registries: SandboxNode) -> None:
    """Right, wrong and no credentials have their effect; the password is nowhere on the node."""
    docker.pull_image("image:1", registry=CLOSED, username=USER, password=PASSWORD)
    assert tags(docker) == [f"{CLOSED}/image:1"]
    for username, password in ((USER, "wrong"), ("nobody", PASSWORD), (None, None)):
        with pytest.raises(ImageNotFoundError, match="pull_image takes a username and password"):
            docker.pull_image("image:2", registry=CLOSED, username=username, password=password)
    assert tags(docker) == [f"{CLOSED}/image:1"]
    files = "find /root /home /etc /run /tmp /var/log -xdev -type f -size -1000k"
    assert registries.run(f'{files} | xargs grep -l "word\'s" || true').stdout == ""


def test_credentials_of_docker_login(
    registries: SandboxNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials stored by `docker login` on this machine are used."""
    encoded = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {CLOSED: {"auth": encoded}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    node = connect_as(registries, "root")
    docker = node.tools[DockerAdvanced]
    docker.pull_image("image:1", registry=CLOSED)
    assert tags(docker) == [f"{CLOSED}/image:1"]
    Engine.forget(node)
    node.close()


def test_broken_credential_helper(
    registries: SandboxNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken credential helper does not prevent a pull without it."""
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "there-is-none"}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    node = connect_as(registries, "root")
    node.tools[DockerAdvanced].pull_image("image:1", registry=OPEN)
    Engine.forget(node)
    node.close()


def test_no_progress(docker: DockerAdvanced) -> None:
    started = time.monotonic()
    with pytest.raises(EngineTimeoutError, match=rf"pulling image '{SILENT}/image:1' in 1 seconds"):
        docker.pull_image(f"{SILENT}/image:1", timeout=1)
    assert time.monotonic() - started < 10
    assert docker.engine.ping()


def test_policies(docker: DockerAdvanced) -> None:
    """`missing` keeps an image, `always` follows a moved tag, `never` does not pull."""
    reference = f"{OPEN}/image:1"
    with pytest.raises(ImageNotFoundError, match="pull_policy is 'never'"):
        docker.run_in_container(reference, "true", pull_policy="never")
    docker.run_in_container(reference, "true")
    pulled = docker.client.images.get(reference).id
    # Another image takes the tag, on the node only.
    container = docker.create_container(BUSYBOX)
    docker.client.api.commit(container, f"{OPEN}/image", "1")
    docker.remove_container(container, force=True)
    moved = docker.client.images.get(reference).id
    assert moved != pulled
    for policy, expected in (("never", moved), ("missing", moved), ("always", pulled)):
        ensure_image(docker.engine, ContainerTestConfig(image=reference, pull_policy=policy))
        assert docker.client.images.get(reference).id == expected, policy


def test_image_made_here(docker: DockerAdvanced) -> None:
    with pytest.raises(ConfigError, match="'lisa_container/bysybox:latest' is neither on node"):
        docker.run_in_container("lisa_container/bysybox", "true")
