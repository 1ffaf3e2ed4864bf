"""Run of LISA in a pytest process: its records, its present case, and containers of tests."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from lisa.node import Node

from lisa_container.cases.containers import NodeContainers
from lisa_container.cases.life import CaseLife
from lisa_container.cases.recorded import recorded_run
from lisa_container.config import ContainerTestConfig, KeepContainers
from lisa_container.config.current import current_settings, use_settings
from lisa_container.container import interrupt
from lisa_container.container.ends import end_for_sure
from lisa_container.executor import ContainerExecutor
from lisa_container.microvm import MicroVm
from lisa_container.microvm.session import VmSession
from lisa_container.pytest_plugin.case import Case
from lisa_container.pytest_plugin.factory import ContainerFactory
from lisa_container.pytest_plugin.hooks import TestHooks
from lisa_container.pytest_plugin.markers import Wanted, read_marker
from lisa_container.pytest_plugin.names import NODE, WANTED, uses
from lisa_container.pytest_plugin.options import Options
from lisa_container.pytest_plugin.quiet import warnings_to_pytest
from lisa_container.pytest_plugin.vms import VmFactory


class Run:
    """Run of LISA in a pytest process. Use `open_run`.

    Args:
        folder: Folder of the run's records.
        hooks: Hooks of the process, which know its tests.
        keep_failed: Whether the virtual machines of failed tests are frozen.
    """

    def __init__(self, folder: Path, hooks: TestHooks, keep_failed: bool) -> None:
        """Begin without a case."""
        self.node: Node | None = None
        """Node that `--lisa-node` names, once it is connected."""
        self.machine: MicroVm | None = None
        """Virtual machine that this node is; None means that it is another machine."""
        self._folder = folder
        self._hooks = hooks
        self._keep_failed = keep_failed
        self._case: Case | None = None
        self._shared: list[ContainerExecutor] = []

    def begin(self, item: pytest.Item) -> None:
        """Begin the case of a test, unless it has begun.

        Args:
            item: The test.
        """
        if self._case is not None and self._case.item is not item:
            self._case.end()
            self._case = None
        if self._case is None:
            self._case = Case(item, self._folder, self._keep_failed)

    def note_vm(self, vm: VmSession) -> None:
        """Note that the present test uses a virtual machine, and record its commands.

        Args:
            vm: VM of the test.
        """
        if self._case is not None:
            self._case.add_vm(vm)

    def record_vm(self, vm: VmSession) -> None:
        """Record the commands of a virtual machine each with the test that runs them.

        Args:
            vm: VM, before its start.
        """
        vm.capture.find_case = partial(self.note_vm, vm)

    def follow(self, report: pytest.TestReport, error: BaseException | None) -> None:
        """Note how a phase of the present test ended; end the case after the last one.

        Args:
            report: Report of the phase, to which a failure adds sections.
            error: Exception that ended the phase; None if there is none.
        """
        if self._case is not None and self._case.item.nodeid == report.nodeid:
            is_used = uses(self._case.item, NODE)
            self._case.follow(report, error, self.machine if is_used else None)
            if report.when == "teardown":
                self.end()

    def interrupt(self) -> None:
        """Note Ctrl-C: commands end at once, and no evidence is taken."""
        interrupt.note()
        if self._case is not None:
            self._case.fail("KeyboardInterrupt")

    def end(self) -> None:
        """End the present case, if there is one."""
        case, self._case = self._case, None
        if case is not None:
            case.end()

    @contextlib.contextmanager
    def container(
        self, node: Node, wanted: Wanted[ContainerTestConfig]
    ) -> Iterator[ContainerExecutor]:
        """Give the present test its container in this block.

        Args:
            node: Node of the container.
            wanted: What the test's marker says.
        """
        assert self._case is not None
        is_needed = partial(self._is_needed, node, wanted)
        recorder = self._case.recorder
        life = CaseLife(wanted.owner.nodeid, wanted.config, is_needed, False, recorder)
        executor = life.container_on(node)
        try:
            if not wanted.is_own and executor not in self._shared:
                self._shared.append(executor)
                wanted.owner.addfinalizer(partial(self._retire, node, executor))
            life.use(node, executor)
            yield executor
        finally:
            end_for_sure(node, life.end)

    @contextlib.contextmanager
    def factory(self, node: Node, is_of_test: bool) -> Iterator[ContainerFactory]:
        """Start containers in this block, which end with it.

        Args:
            node: Node of the containers.
            is_of_test: Whether the containers serve the present test alone.
        """
        factory = ContainerFactory(node, (lambda _: None) if is_of_test else self._share)
        try:
            yield factory
        finally:
            end_for_sure(node, factory.end)

    @contextlib.contextmanager
    def vm_factory(self, is_of_test: bool) -> Iterator[VmFactory]:
        """Start virtual machines in this block, which end with it.

        Args:
            is_of_test: Whether the VMs serve the present test alone.
        """
        factory = VmFactory(self._prepare_vm if is_of_test else self.record_vm)
        try:
            yield factory
        finally:
            factory.end()

    def _prepare_vm(self, vm: VmSession) -> None:
        self.record_vm(vm)
        self.note_vm(vm)

    def _share(self, executor: ContainerExecutor) -> None:
        """Record the commands of a container each with the test that runs them."""
        executor.is_managed = True
        executor.capture.find_case = partial(self._claim, executor)

    def _claim(self, executor: ContainerExecutor) -> None:
        if self._case is not None:
            self._case.recorder.add(executor, executor.config, is_own=False)

    def _retire(self, node: Node, executor: ContainerExecutor) -> None:
        """Remove a container at the end of its class, module or session."""
        self._shared.remove(executor)
        end_for_sure(node, partial(NodeContainers.of(node).retire, executor))

    def _is_needed(self, node: Node, wanted: Wanted[ContainerTestConfig]) -> bool:
        """Return whether the next test can use a container that is made ready now."""
        following = self._hooks.next_item
        # Nothing tells when a user's own node ends.
        if node is not self.node or following is None or not uses(following, WANTED):
            return False
        other = read_marker(following)
        return other.is_own and other.config.key() == wanted.config.key()


@contextlib.contextmanager
def open_run(hooks: TestHooks, name: str, log: Path, options: Options) -> Iterator[Run]:
    """Record what the tests in this block do in containers.

    Args:
        hooks: Hooks of the process.
        name: Name of the run in the history.
        log: Folder that gets a folder for the run.
        options: Options, which say what becomes of failed tests' containers and virtual machines.
    """
    keeping = _kept_containers(options.keep_containers)
    with warnings_to_pytest(), keeping, recorded_run(log, name) as folder:
        hooks.run = run = Run(folder, hooks, options.keep_failed)
        try:
            if hooks.item is not None:
                run.begin(hooks.item)
            yield run
        finally:
            run.end()
            hooks.run = None


@contextlib.contextmanager
def _kept_containers(is_asked: bool) -> Iterator[None]:
    """Keep the containers of failed tests in this block, if this is asked for."""
    before = current_settings()
    if is_asked and before.keep_containers is KeepContainers.NO:
        use_settings(dataclasses.replace(before, keep_containers=KeepContainers.FAILED))
    try:
        yield
    finally:
        use_settings(before)
