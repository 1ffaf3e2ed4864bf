"""Fixtures: `node`, `engine`, `container`, `vm`, and factories of containers and VMs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from lisa_container.pytest_plugin import markers, names
from lisa_container.pytest_plugin.hooks import OPTIONS, hooks_of
from lisa_container.pytest_plugin.quiet import import_lisa

if TYPE_CHECKING:
    from lisa.node import Node

    from lisa_container.config import ContainerTestConfig
    from lisa_container.engine.client import Engine
    from lisa_container.executor import ContainerExecutor
    from lisa_container.microvm import VmConfig
    from lisa_container.microvm.session import VmSession
    from lisa_container.pytest_plugin.factory import ContainerFactory
    from lisa_container.pytest_plugin.run import Run
    from lisa_container.pytest_plugin.vms import VmFactory, Vms


@pytest.fixture(name=names.RUN, scope="session")
def _run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Open the run of this pytest process."""
    hooks = hooks_of(request.config)
    import_lisa()
    from lisa_container.pytest_plugin.run import open_run

    options = request.config.stash[OPTIONS]
    log = options.log or tmp_path_factory.mktemp("lisa_container")
    worker = getattr(request.config, "workerinput", {}).get("workerid", "")  # pytest-xdist's
    with open_run(hooks, f"pytest {worker}".strip(), log, options) as run:
        yield run


@pytest.fixture(name=names.NODE, scope="session")
def _node(request: pytest.FixtureRequest, _lisa_container_run: Run) -> Iterator[Node]:
    """Connect to the node that `--lisa-node` names."""
    with request.config.stash[OPTIONS].require_source().connected() as connected:
        _lisa_container_run.node = connected.node
        _lisa_container_run.machine = connected.machine
        yield connected.node


@pytest.fixture(name=names.WANTED)
def _wanted(request: pytest.FixtureRequest) -> markers.Wanted[ContainerTestConfig]:
    """Read the markers of the test."""
    return markers.read_marker(request.node)


@pytest.fixture(scope="session")
def node(_lisa_container_node: Node) -> Node:
    """Return the LISA node that `--lisa-node` names, connected once for all tests."""
    return _lisa_container_node


@pytest.fixture
def engine(node: Node) -> Engine:
    """Return the container engine of the node; LISA installs and starts it where it can."""
    from lisa_container.engine.installation import ensure_engine

    return ensure_engine(node)


@pytest.fixture
def container(
    request: pytest.FixtureRequest,
    node: Node,
    _lisa_container_run: Run,
    _lisa_container_wanted: markers.Wanted[ContainerTestConfig],
) -> Iterator[ContainerExecutor]:
    """Start the container that `@pytest.mark.container(…)` describes."""
    _lisa_container_run.begin(request.node)
    with _lisa_container_run.container(node, _lisa_container_wanted) as executor:
        yield executor


@pytest.fixture
def container_factory(
    request: pytest.FixtureRequest, node: Node, _lisa_container_run: Run
) -> Iterator[ContainerFactory]:
    """Start further containers: `container_factory(image=…)`; they end with the test."""
    _lisa_container_run.begin(request.node)
    with _lisa_container_run.factory(node, is_of_test=True) as factory:
        yield factory


def _factory(node: Node, _lisa_container_run: Run) -> Iterator[ContainerFactory]:
    """Start containers that end with the scope of the fixture."""
    with _lisa_container_run.factory(node, is_of_test=False) as factory:
        yield factory


class_container_factory = pytest.fixture(_factory, scope="class", name="class_container_factory")
module_container_factory = pytest.fixture(_factory, scope="module", name="module_container_factory")
session_container_factory = pytest.fixture(
    _factory, scope="session", name="session_container_factory"
)


@pytest.fixture(name="_lisa_container_vms", scope="session")
def _vms(_lisa_container_run: Run) -> Iterator[Vms]:
    """Hold the virtual machines of this pytest process."""
    from lisa_container.pytest_plugin.vms import Vms

    vms = Vms(_lisa_container_run.record_vm)
    try:
        yield vms
    finally:
        vms.end()


@pytest.fixture(name=names.WANTED_VM)
def _wanted_vm(request: pytest.FixtureRequest) -> markers.Wanted[VmConfig]:
    """Read the markers of the test."""
    return markers.read_vm_marker(request.node)


@pytest.fixture
def vm(
    request: pytest.FixtureRequest,
    _lisa_container_run: Run,
    _lisa_container_vms: Vms,
    _lisa_container_wanted_vm: markers.Wanted[VmConfig],
) -> Iterator[VmSession]:
    """Start the virtual machine that `@pytest.mark.vmtest(…)` describes."""
    _lisa_container_run.begin(request.node)
    with _lisa_container_vms.vm(_lisa_container_wanted_vm, request.node) as started:
        _lisa_container_run.note_vm(started)
        yield started


@pytest.fixture(name=names.VM_FACTORY)
def vm_factory(request: pytest.FixtureRequest, _lisa_container_run: Run) -> Iterator[VmFactory]:
    """Start further virtual machines: `vm_factory(cores=1)`; they end with the test."""
    _lisa_container_run.begin(request.node)
    with _lisa_container_run.vm_factory(is_of_test=True) as factory:
        yield factory


def _vm_factory(_lisa_container_run: Run) -> Iterator[VmFactory]:
    """Start virtual machines that end with the scope of the fixture."""
    with _lisa_container_run.vm_factory(is_of_test=False) as factory:
        yield factory


class_vm_factory = pytest.fixture(_vm_factory, scope="class", name=names.VM_FACTORIES[0])
module_vm_factory = pytest.fixture(_vm_factory, scope="module", name=names.VM_FACTORIES[1])
session_vm_factory = pytest.fixture(_vm_factory, scope="session", name=names.VM_FACTORIES[2])
