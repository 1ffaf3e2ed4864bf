"""Package managers in containers use the settings of the node's package managers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lisa.node import Node

from lisa_container import ContainerExecutor
from lisa_container.install import (
    PackageSettings,
    ToolError,
    ToolNoSpaceError,
    ToolUnreachableError,
    installer,
    workbench,
)

FILES = {
    ".config/pip/pip.conf": "[global]\nindex-url = https://me:p1ssword@x/simple\ncache-dir = /x\n",
    ".npmrc": "registry=https://r/\n//r/:_authToken=t2ken\nprefix=/x\n",
    ".gemrc": ":sources:\n- https://me:p3ssword@g/\n:verbose: true\n",
    ".cargo/config.toml": '[registries.x]\nindex = "sparse+https://c/"\ntoken = "t4ken"\n',
}
PROXY = "/etc/apt/apt.conf.d/99test"


@pytest.fixture
def settings_on_node(node: Node) -> Iterator[Node]:
    """Write package settings of all kinds on the node."""
    for name, text in FILES.items():
        write = f"mkdir -p ~/{Path(name).parent} && cat >~/{name} <<'END'\n{text}END"
        node.execute(write, shell=True, no_debug_log=True)
    yield node
    for name in FILES:
        node.execute(f"rm ~/{name}", shell=True)


def test_settings_of_a_node(settings_on_node: Node, logged: Callable[[], str]) -> None:
    settings = PackageSettings.of_node(settings_on_node)
    assert settings.files["pip.conf"] == b"[global]\nindex-url = https://me:p1ssword@x/simple\n"
    assert settings.files["npmrc"] == b"registry=https://r/\n//r/:_authToken=t2ken\n"
    assert settings.files["gemrc"] == b"---\n:sources:\n- https://me:p3ssword@g/\n"
    assert settings.files["cargo.toml"].decode() == FILES[".cargo/config.toml"]
    assert b"BEGIN CERTIFICATE" in settings.files["certificates.pem"]
    assert settings.environment["PIP_CONFIG_FILE"] == "{folder}/pip.conf"
    assert settings.environment["SSL_CERT_FILE"] == "{folder}/certificates.pem"
    secrets = {"p1ssword", "t2ken", "p3ssword", "t4ken"}
    assert settings.secrets == secrets
    said = "\n".join([repr(settings), logged()])
    assert not [secret for secret in secrets if secret in said]


def test_node_without_settings(node: Node) -> None:
    settings = PackageSettings.of_node(node)
    assert set(settings.files) <= {"certificates.pem", "apt.conf"}
    assert settings.secrets == frozenset()


def test_folder_of_another_user(
    container: ContainerExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who makes the settings' folder first in the container gets no settings."""
    monkeypatch.setattr(workbench, "secrets", SimpleNamespace(token_hex=lambda size: "00" * size))
    folder = "/dev/shm/lisa_container.0000000000000000"
    container.run(["install", "-d", "-m", "777", "-o", "1000", folder], expected_exit_code=0)
    settings = PackageSettings(files={"pip.conf": b"[global]\nindex-url = https://me:pa55word@x\n"})
    with pytest.raises(ToolError, match="File exists"):
        container.install("coreutils", settings=settings)
    assert container.run(["find", folder, "-printf", "%U"]).stdout == "1000"


def test_apt_takes_the_nodes_proxy(make: Any, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """apt uses the node's proxy, whose password is in no log."""
    monkeypatch.setattr(installer, "_DELAYS", (0.1, 0.1, 0.1))
    line = 'Acquire::http::Proxy "http://me:s3cret@127.0.0.1:9/";'
    write = f"echo '{line}' >{PROXY}"
    node.execute(write, shell=True, sudo=True, no_debug_log=True)
    try:
        container = make()
        with pytest.raises(ToolUnreachableError, match="127.0.0.1:9") as e:
            container.install("jq")
    finally:
        node.execute(f"rm {PROXY}", sudo=True)
    assert "s3cret" not in Path(e.value.log).read_text() + str(e.value)
    # Nothing of it stays in the container.
    container.install("jq")


def test_no_space_for_settings(make: Any, settings_on_node: Node) -> None:
    """A failure to write the settings leaves none of them."""
    container = make(tmpfs={"/dev/shm": "size=16k"})
    with pytest.raises(ToolNoSpaceError, match="settings could not be written"):
        container.install("jq")
    assert container.run("ls -A /dev/shm").stdout == ""
