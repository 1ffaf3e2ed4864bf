"""Nodes for all tests: real sshd, real Docker Engine, in sandboxes on this machine.

With LISA_CONTAINER_TEST_NODE=user@address[:port] and LISA_CONTAINER_TEST_KEY=/path/to/key the tests
that need just a node use that one instead (the user being root or having sudo).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis.core
import pytest
from lisa import secret
from lisa.node import Node
from lisa.util import constants
from lisa.util.logger import add_handler, init_logger, remove_handler

import lisa_container
from lisa_container.platforms.sandbox import Sandbox, SandboxNode, start_sandbox
from tests.support.debian import DEBIAN, common_folder, put_debian
from tests.support.leftovers import leftovers, wait_until_as_before
from tests.support.nodes import connect, connect_as, disconnect, disconnect_all
from tests.support.soak import SAMPLES, SEED, SEED_VARIABLE, SOAKS, unchosen

# In the background, or under nohup, these are ignored, and what a test starts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

GIVEN_NODE = os.environ.get("LISA_CONTAINER_TEST_NODE", "")

END_RELAYS = (
    "pkill -f '/(var/)?run/[a-z/.]*sock [0-9]+ [0-9.]+$'; sleep 0.1; rm -rf /run/lisa_container_*"
)
# Images are a cache, and a file may look for those that another has made. Dear ones stay. Twice: an
# image that another is made of goes after that.
REMOVE_IMAGES = (
    "for turn in 1 2; do docker images --format '{{.Repository}}:{{.Tag}}' "
    "| grep -vE '^lisa_container/(busybox|debian|tools):' | xargs -r docker rmi -f; "
    "docker image prune -f; done"
)

# In a run of LISA, importing the package registers all its types. Here pytest has imported it for
# its plugin, before LISA.
for _name in lisa_container.__all__:
    getattr(lisa_container, _name)

# A session of LISA gives these; here LISA is used as a library.
init_logger()


def pytest_report_header() -> str:
    """Return the seed of this run, for another run with the same samples."""
    kind = "all of each long test" if SOAKS else "samples of long tests"
    return f"{kind}; {SEED_VARIABLE}={SEED} repeats what is drawn at random"


def pytest_configure() -> None:
    """Let property tests draw by the seed of the run, too."""
    hypothesis.core.global_force_seed = SEED


@pytest.fixture(scope="session", autouse=True)
def lisa_folders(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Set the folders of LISA's logs and files."""
    root = tmp_path_factory.mktemp("lisa")
    constants.RUN_ID = "tests"
    constants.RUN_LOGIC_PATH = Path("tests/run")
    constants.RUN_LOCAL_LOG_PATH = root / "log"
    constants.RUN_LOCAL_WORKING_PATH = root / "working"
    constants.CACHE_PATH = root / "cache"


@pytest.fixture(scope="module", autouse=True)
def no_secrets() -> Iterator[None]:
    """Reset LISA's secrets, among them each node's user name, before and after a test file."""
    secret.reset()
    yield
    secret.reset()


# Tests in these folders kill, hide and cut off what a node needs.
OWN_NODE_FOLDERS = ("attack", "lease")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take the sample of this run, and give the files of some folders a node of their own."""
    if SAMPLES:
        rest = unchosen(items)
        config.hook.pytest_deselected(items=rest)
        items[:] = [item for item in items if item not in rest]
    for item in items:
        module = item.getparent(pytest.Module)
        if module and item.path.parent.name in OWN_NODE_FOLDERS:
            module.add_marker(pytest.mark.own_node)


class SharedNode:
    """The sandbox node of this process, started when the first test wants one."""

    def __init__(self) -> None:
        self._sandbox: Sandbox | None = None

    def get(self) -> Sandbox:
        """Return the running sandbox."""
        self._sandbox = self._sandbox or start_sandbox(1)
        return self._sandbox

    def has(self, machine: SandboxNode) -> bool:
        """Return whether this is the node."""
        return self._sandbox is not None and machine in self._sandbox.nodes

    def stop(self) -> None:
        """End the node; the next test that wants one gets a new one."""
        if self._sandbox:
            self._sandbox.stop()
        self._sandbox = None


@pytest.fixture(scope="session")
def shared_node() -> Iterator[SharedNode]:
    """Return the node for the files of this process that leave a node unchanged."""
    shared = SharedNode()
    yield shared
    shared.stop()


@pytest.fixture(scope="module")
def sandbox(request: pytest.FixtureRequest, shared_node: SharedNode) -> Iterator[Sandbox]:
    """Return a sandbox node for the tests of a file.

    Other files use it, too, and each must leave it as it was. A file whose tests cannot has the mark
    `own_node` and gets a node that ends with it.
    """
    if request.node.get_closest_marker("own_node"):
        with start_sandbox(1) as running:
            yield running
            disconnect_all()
        return
    running = shared_node.get()
    (machine,) = running.nodes
    before = leftovers(machine, leases=True)
    yield running
    disconnect_all()
    # A relay stays until it is idle for a while, which tests/engine/test_relay.py sees.
    machine.run(END_RELAYS, check=False)
    left = wait_until_as_before(machine, before, leases=True)
    if left:
        shared_node.stop()
        pytest.fail("the tests of this file left on the node:\n" + "\n".join(left))
    machine.run(REMOVE_IMAGES, check=False)


@pytest.fixture(scope="module")
def machine(sandbox: Sandbox) -> SandboxNode:
    """Return the sandbox node itself, whose state tests see without SSH."""
    return sandbox.nodes[0]


@pytest.fixture
def own_machine() -> Iterator[SandboxNode]:
    """Start a node that a test may break."""
    with start_sandbox(1) as running:
        yield running.nodes[0]


@pytest.fixture(autouse=True)
def left_as_it_was(request: pytest.FixtureRequest, shared_node: SharedNode) -> Iterator[None]:
    """Check that a test leaves nothing on the shared node."""
    if "machine" not in request.fixturenames:
        yield
        return
    machine: SandboxNode = request.getfixturevalue("machine")
    if not shared_node.has(machine):
        yield
        return
    before = leftovers(machine, leases=False)
    yield
    left = wait_until_as_before(machine, before, leases=False)
    assert not left, "the test left on the node:\n" + "\n".join(left)


def _connected(machine: SandboxNode, user: str) -> Iterator[Node]:
    node = connect_as(machine, user)
    yield node
    disconnect(node)


if GIVEN_NODE:

    @pytest.fixture(scope="module")
    def node() -> Iterator[Node]:
        """Connect to the remote node that the environment names."""
        username, _, address = GIVEN_NODE.rpartition("@")
        host, _, port = address.partition(":")
        key = Path(os.environ["LISA_CONTAINER_TEST_KEY"])
        connected = connect(host, username or "root", int(port or 22), key, name="given")
        yield connected
        disconnect(connected)

else:

    @pytest.fixture(scope="module")
    def node(machine: SandboxNode) -> Iterator[Node]:
        """Connect as the usual LISA user, who has sudo without a password."""
        yield from _connected(machine, "sudo")


@pytest.fixture(scope="module")
def debian_image(node: Node, machine: SandboxNode, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the name of a Debian image that the node has."""
    put_debian(node, machine, common_folder(tmp_path_factory.getbasetemp()))
    return DEBIAN


@pytest.fixture(scope="module")
def root_node(machine: SandboxNode) -> Iterator[Node]:
    """Connect to the node as root."""
    yield from _connected(machine, "root")


@pytest.fixture(scope="module")
def password_node(machine: SandboxNode) -> Iterator[Node]:
    """Connect as a user who logs in with a password, and whose sudo asks for it."""
    yield from _connected(machine, "password")


@pytest.fixture(scope="module", params=["root", "sudo", "password"])
def each_user(request: pytest.FixtureRequest, machine: SandboxNode) -> Iterator[Node]:
    """Connect as each kind of user in turn."""
    yield from _connected(machine, request.param)


@pytest.fixture(scope="module", params=["root", "sudo", "docker"])
def each_engine_user(request: pytest.FixtureRequest, machine: SandboxNode) -> Iterator[Node]:
    """Connect as each kind of user that may reach the engine."""
    yield from _connected(machine, request.param)


@pytest.fixture(scope="module")
def stranger(machine: SandboxNode) -> Iterator[Node]:
    """Log in to the machine as a user who may reach neither the engine nor sudo."""
    yield from _connected(machine, "stranger")


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """Return a function that returns all log lines, LISA's included."""
    caplog.set_level("DEBUG")
    add_handler(caplog.handler)
    yield lambda: "\n".join(record.getMessage() for record in caplog.records)
    remove_handler(caplog.handler)
