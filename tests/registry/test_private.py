"""A registry with TLS by its own CA and credentials, away from the loopback."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lisa.node import Node

from lisa_container import ContainerSettings, use_settings
from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.errors import (
    ConfigError,
    ImageNotFoundError,
    ImageUnauthorizedError,
    RegistryUntrustedError,
)
from tests.support.nodes import connect_as, disconnect
from tests.support.registries import OPEN, OTHER_PASSWORD, OTHER_USER, PASSWORD, USER, Shelf, tags


def trust(shelf: Shelf, username: str = "", password: str = "", **more: Any) -> None:
    """Use settings with the registry's CA, and with credentials if given."""
    entry = {"host": shelf.private, "ca": str(shelf.ca), "username": username, "password": password}
    use_settings(ContainerSettings.from_mapping({"registries": [entry], **more}))


def encoded(username: str, password: str) -> str:
    return base64.b64encode(f"{username}:{password}".encode()).decode()


@pytest.fixture
def stored(shelf: Shelf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Return a function that stores a docker config for a user of the node or of this machine."""
    machine = shelf.machine
    homes = {"user": f"/home/{machine.username}", "root": "/root"}
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))

    def store(whose: str, content: dict[str, Any]) -> None:
        text = json.dumps(content)
        if whose == "here":
            (tmp_path / "config.json").write_text(text)
            return
        home = homes[whose]
        owner = machine.username if whose == "user" else "root"
        machine.run(f"mkdir -p {home}/.docker; cat > {home}/.docker/config.json", stdin=text)
        machine.run(f"chown -R {owner} {home}/.docker; chmod 600 {home}/.docker/config.json")

    yield store
    for home in homes.values():
        machine.run(f"rm -rf {home}/.docker {home}/.config/containers")
    machine.run("rm -f /usr/local/bin/docker-credential-tests")


def test_ca_is_lent(shelf: Shelf) -> None:
    """A CA is on the node only as long as the lease, beside the node's own."""
    machine, folder = shelf.machine, f"/etc/docker/certs.d/{shelf.private}"
    image = f"{shelf.private}/team/tool:1"
    node = connect_as(machine, "sudo")
    docker = node.tools[DockerAdvanced]
    with pytest.raises(
        RegistryUntrustedError, match="x509.*'ca', see 'lisa-container docs registries'"
    ):
        docker.pull_image(image, username=USER, password=PASSWORD)
    trust(shelf)
    lost = "/etc/docker/certs.d/lost.example.com"
    machine.run(f"mkdir -p {lost}; touch {lost}/lisa_container-0123456789abcdef.crt")
    for _ in range(2):
        docker.pull_image(image, username=USER, password=PASSWORD)
        assert tags(shelf) == [image]
        (name,) = machine.run(["ls", folder]).stdout.split()
        assert machine.run(["ls", "/etc/docker/certs.d"]).stdout.split() == [shelf.private]
        assert name.startswith("lisa_container-") and name.endswith(".crt")

    # Another run has a file of its own, and needs no other to be there.
    second = connect_as(machine, "root")
    second.tools[DockerAdvanced].pull_image(image, username=USER, password=PASSWORD)
    assert len(machine.run(["ls", folder]).stdout.split()) == 2
    disconnect(node)
    assert len(machine.run(["ls", folder]).stdout.split()) == 1
    disconnect(second)
    assert machine.run("ls /etc/docker/certs.d", check=False).returncode != 0

    # One that is there already is used; it, and what else is there, stays.
    machine.run(f"mkdir -p {folder}; cat >{folder}/own.crt", stdin=shelf.ca.read_text())
    node = connect_as(machine, "sudo")
    node.tools[DockerAdvanced].pull_image(image, username=USER, password=PASSWORD)
    assert machine.run(["ls", folder]).stdout.split() == ["own.crt"]
    disconnect(node)
    assert machine.run(["ls", folder]).stdout.split() == ["own.crt"]
    machine.run("rm -r /etc/docker/certs.d")


def test_user_of_the_docker_group(shelf: Shelf) -> None:
    """A user who may not store the CA gets an error that says so; all else works."""
    machine = shelf.machine
    machine.run(f"usermod -aG docker {machine.password_username}")
    node: Node = connect_as(machine, "password")
    try:
        docker = node.tools[DockerAdvanced]
        trust(shelf, USER, PASSWORD)
        with pytest.raises(RegistryUntrustedError):
            docker.pull_image(f"{shelf.private}/team/tool:1")
        folder = f"/etc/docker/certs.d/{shelf.private}"
        machine.run(f"mkdir -p {folder}; cat >{folder}/ca.crt", stdin=shelf.ca.read_text())
        docker.pull_image(f"{shelf.private}/team/tool:1")
    finally:
        disconnect(node)
        machine.run("rm -rf /etc/docker/certs.d")
        machine.run(f"gpasswd -d {machine.password_username} docker")


def test_argument(docker: DockerAdvanced, shelf: Shelf) -> None:
    trust(shelf, USER, "not the password")
    with pytest.raises(ImageUnauthorizedError, match=r"asked as user 'reader' of the runbook"):
        docker.pull_image("team/tool:1", registry=shelf.private)
    docker.pull_image("team/tool:1", registry=shelf.private, username=USER, password=PASSWORD)
    assert tags(shelf) == [f"{shelf.private}/team/tool:1"]


def test_order(docker: DockerAdvanced, shelf: Shelf, stored: Any) -> None:
    """Credentials of each place override those of the places before, even wrong ones.

    The order: this machine, root on the node, the user there, the runbook, the argument.
    """
    image = f"{shelf.private}/team/tool:1"
    trust(shelf)
    with pytest.raises(ImageUnauthorizedError, match="asked without credentials"):
        docker.pull_image(image)

    def config(username: str) -> dict[str, Any]:
        return {"auths": {shelf.private: {"auth": encoded(username, "wrong")}}}

    for whose, name, origin in (
        ("here", "in-here", "config.json' of this machine"),
        ("root", "in-root", "'/root/.docker/config.json' of root on node"),
        ("user", "in-user", f"'/home/{shelf.machine.username}/.docker/config.json' of node"),
    ):
        stored(whose, config(name))
        with pytest.raises(ImageUnauthorizedError, match=f"as user '{name}' of .*{origin}"):
            docker.pull_image(image)
    trust(shelf, "in-runbook", "wrong")
    with pytest.raises(ImageUnauthorizedError, match="as user 'in-runbook' of the runbook"):
        docker.pull_image(image)
    with pytest.raises(ImageUnauthorizedError, match="as user 'in-argument' of the argument"):
        docker.pull_image(image, username="in-argument", password="wrong")


@pytest.mark.parametrize("whose", ["user", "root", "here"])
def test_stored(docker: DockerAdvanced, shelf: Shelf, stored: Any, whose: str) -> None:
    """Each registry gets its own stored credentials."""
    trust(shelf)
    others = {"quay.example.com": {"auth": encoded("x", "y")}, "docker.io": {"auth": "?"}}
    auths = {**others, f"https://{shelf.private}": {"auth": encoded(USER, PASSWORD)}}
    stored(whose, {"auths": auths})
    docker.pull_image(f"{shelf.private}/team/tool:1")
    docker.pull_image(f"{OPEN}/team/tool:1")
    assert tags(shelf) == [f"{OPEN}/team/tool:1", f"{shelf.private}/team/tool:1"]


@pytest.mark.parametrize("key", ["credHelpers", "credsStore"])
def test_helper_on_the_node(
    docker: DockerAdvanced, shelf: Shelf, stored: Any, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A helper of the node runs there, and its answer goes nowhere else."""
    answer = json.dumps({"ServerURL": shelf.private, "Username": USER, "Secret": PASSWORD})
    helper = f"#!/bin/sh\n[ $1 = get ] && [ \"$(cat)\" = {shelf.private} ] || {{ echo 'credentials not found'; exit 1; }}\ncat <<'END'\n{answer}\nEND\n"
    machine = shelf.machine
    machine.run("cat > /usr/local/bin/docker-credential-tests", stdin=helper)
    machine.run("chmod 755 /usr/local/bin/docker-credential-tests")
    stored("user", {key: "tests" if key == "credsStore" else {shelf.private: "tests"}})
    trust(shelf)
    docker.pull_image(f"{shelf.private}/team/tool:1")
    docker.pull_image(f"{OPEN}/team/tool:1")  # for which it has none
    assert "word" not in caplog.text
    machine.run("rm /usr/local/bin/docker-credential-tests")
    with pytest.raises(ImageUnauthorizedError, match="asked without credentials"):
        docker.pull_image(f"{shelf.private}/team/tool:2")


def test_helper_here(
    docker: DockerAdvanced,
    shelf: Shelf,
    stored: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A helper of this machine runs here."""
    answer = json.dumps({"ServerURL": shelf.private, "Username": USER, "Secret": PASSWORD})
    (tmp_path / "answer").write_text(answer)
    helper = tmp_path / "docker-credential-tests"
    helper.write_text(f"#!/bin/sh\ncat {tmp_path}/answer\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    stored("here", {"credHelpers": {shelf.private: "tests"}})
    trust(shelf)
    docker.pull_image(f"{shelf.private}/team/tool:1")
    (tmp_path / "answer").write_text(answer.replace(USER, "in-helper"))
    with pytest.raises(ImageUnauthorizedError, match="'in-helper'.*docker-credential-tests"):
        docker.pull_image(f"{shelf.private}/team/tool:2")


def test_podmans_file(docker: DockerAdvanced, shelf: Shelf, stored: Any) -> None:
    """podman's file may have credentials for a part of a registry."""
    trust(shelf)
    machine = shelf.machine
    auths = {
        shelf.private: {"auth": encoded("nobody", "wrong")},
        f"{shelf.private}/team": {"auth": encoded(OTHER_USER, OTHER_PASSWORD)},
    }
    folder = f"/home/{machine.username}/.config/containers"
    machine.run(f"mkdir -p {folder}; cat >{folder}/auth.json", stdin=json.dumps({"auths": auths}))
    machine.run(f"chown -R {machine.username} /home/{machine.username}/.config")
    docker.pull_image(f"{shelf.private}/team/tool:1")


def test_part_of_a_registry(docker: DockerAdvanced, shelf: Shelf) -> None:
    """The longest matching name applies, also in the runbook."""
    entries = [
        {"host": shelf.private, "username": "nobody", "password": "wrong", "ca": str(shelf.ca)},
        {"host": f"{shelf.private}/team", "username": USER, "password": PASSWORD},
        {"host": f"{shelf.private}/team/tool2", "username": "x", "password": "no-account"},
    ]
    use_settings(ContainerSettings.from_mapping({"registries": entries}))
    docker.pull_image(f"{shelf.private}/team/tool:1")
    with pytest.raises(ImageUnauthorizedError, match="user 'nobody'"):
        docker.pull_image(f"{shelf.private}/teams/tool:1")


def test_push(docker: DockerAdvanced, shelf: Shelf) -> None:
    """A push works with right credentials only, and the image can be pulled."""
    trust(shelf)
    docker.pull_image(f"{OPEN}/team/tool:1")
    pushed = f"{shelf.private}/team/pushed:1"
    docker.client.images.get(f"{OPEN}/team/tool:1").tag(pushed)
    with pytest.raises(ImageUnauthorizedError, match="not be pushed.*asked without credentials"):
        docker.push_image(pushed)
    with pytest.raises(ImageUnauthorizedError, match="user 'reader' of the argument"):
        docker.push_image(pushed, username=USER, password="wrong")
    docker.push_image("team/pushed:1", registry=shelf.private, username=USER, password=PASSWORD)
    trust(shelf, OTHER_USER, OTHER_PASSWORD)
    docker.push_image(pushed)
    docker.remove_image(pushed, force=True)
    docker.pull_image(pushed)
    with pytest.raises(ImageNotFoundError, match="No such image"):
        docker.push_image(f"{OPEN}/team/none:1")
    with pytest.raises(ConfigError, match="legal for a push: a name without a digest"):
        docker.push_image(f"{OPEN}/team/none@sha256:{'0' * 64}")
