"""Nodes for all tests: real sshd, real Docker Engine, in sandboxes on this machine.

With LISA_CONTAINER_TEST_NODE=user@address[:port] and LISA_CONTAINER_TEST_KEY=/path/to/key the tests
that need just a node use that one instead (the user being root or having sudo).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lisa import schema, secret
from lisa.node import Node, quick_connect
from lisa.util import constants
from lisa.util.logger import add_handler, init_logger, remove_handler

from lisa_container.engine.client import Engine
from lisa_container.executor import release_lease
from lisa_container.platforms.sandbox import Sandbox, SandboxNode, start_sandbox

# It is a plugin, whose fixtures tests take, and a module that they import from.
pytest.register_assert_rewrite("archives")

BUSYBOX = "lisa_container/busybox"

# In the background, or under nohup, these are ignored, and what a test starts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# A session of LISA gives these; here LISA is used as a library.
init_logger()


@pytest.fixture(scope="session", autouse=True)
def lisa_folders(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where LISA puts logs and files of a run."""
    root = tmp_path_factory.mktemp("lisa")
    constants.RUN_ID = "tests"
    constants.RUN_LOGIC_PATH = Path("tests/run")
    constants.RUN_LOCAL_LOG_PATH = root / "log"
    constants.RUN_LOCAL_WORKING_PATH = root / "working"
    constants.CACHE_PATH = root / "cache"


@pytest.fixture(scope="module", autouse=True)
def no_secrets() -> Iterator[None]:
    """LISA masks each node's user name in all errors, for ever: not in those of other tests."""
    secret.reset()
    yield
    secret.reset()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One sandbox node for the tests of a file; they leave it as it was."""
    with start_sandbox(1) as running:
        yield running


@pytest.fixture(scope="module")
def machine(sandbox: Sandbox) -> SandboxNode:
    """The sandbox node itself, reached past SSH: to look behind the scenes."""
    return sandbox.nodes[0]


def connect(
    address: str,
    username: str,
    port: int = 22,
    key: Path | None = None,
    password: str = "",
    name: str = "",
) -> Node:
    """A connected LISA node."""
    runbook = schema.RemoteNode(
        name=name,
        address=address,
        public_address=address,
        port=port,
        public_port=port,
        username=username,
        password=password,
        private_key_file=str(key or ""),
    )
    return quick_connect(runbook, logger_name=name or "node")


def connect_as(machine: SandboxNode, user: str) -> Node:
    """A LISA node for one of a sandbox node's users: `root`, `sudo` or `password`."""
    name = f"{machine.name}-{user}"
    if user == "password":
        return connect(
            machine.address,
            machine.password_username,
            machine.port,
            password=machine.password,
            name=name,
        )
    username = "root" if user == "root" else machine.username
    return connect(machine.address, username, machine.port, machine.private_key_file, name=name)


def disconnect(node: Node) -> None:
    """The end of a node: nothing of ours goes on to use it, or a connection of its own."""
    release_lease(node)
    Engine.forget(node)
    node.close()


@pytest.fixture(scope="module")
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    """A remote node whose user has sudo without a password: the usual LISA user."""
    given = os.environ.get("LISA_CONTAINER_TEST_NODE", "")
    if given:
        username, _, address = given.rpartition("@")
        host, _, port = address.partition(":")
        key = Path(os.environ["LISA_CONTAINER_TEST_KEY"])
        connected = connect(host, username or "root", int(port or 22), key, name="given")
    else:
        connected = connect_as(request.getfixturevalue("machine"), "sudo")
    yield connected
    disconnect(connected)


@pytest.fixture(scope="module")
def root_node(machine: SandboxNode) -> Iterator[Node]:
    """The same machine, logged in as root."""
    connected = connect_as(machine, "root")
    yield connected
    disconnect(connected)


@pytest.fixture(scope="module")
def password_node(machine: SandboxNode) -> Iterator[Node]:
    """The same machine, as a user who logs in with a password and whose sudo asks for it."""
    connected = connect_as(machine, "password")
    yield connected
    disconnect(connected)


@pytest.fixture(scope="module", params=["root", "sudo", "password"])
def each_user(request: pytest.FixtureRequest, machine: SandboxNode) -> Iterator[Any]:
    """The node as each kind of user in turn."""
    connected = connect_as(machine, request.param)
    yield connected
    disconnect(connected)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """All that was logged; LISA's own log does not come to pytest by itself."""
    caplog.set_level("DEBUG")
    add_handler(caplog.handler)
    yield lambda: "\n".join(record.getMessage() for record in caplog.records)
    remove_handler(caplog.handler)
