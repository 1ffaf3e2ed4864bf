"""Virtual machines of the tests of one pytest process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any, Callable

import pytest

from lisa_container.errors import VmError
from lisa_container.escaping import printable
from lisa_container.microvm import MicroVm, VmConfig
from lisa_container.microvm.session import VmSession
from lisa_container.pytest_plugin.markers import Wanted, vm_config


class VmFactory:
    """Function that starts a virtual machine, which the factory removes at its own end.

    Args:
        prepare: Called with each VM before its start.
    """

    def __init__(self, prepare: Callable[[VmSession], None]) -> None:
        """Begin without VMs."""
        self._prepare = prepare
        self._made: list[VmSession] = []

    def __call__(self, config: VmConfig | None = None, **fields: Any) -> VmSession:
        """Return a new VM, started.

            small = vm_factory(name="small", memory_mib=256)

        Args:
            config: Config of the VM; None means the defaults.
            fields: Fields of `VmConfig`; they replace those of `config`.

        Raises:
            ConfigError: A field is wrong; nothing was created.
            VmError: The VM cannot be started; nothing stays behind.
        """
        vm = VmSession(MicroVm(vm_config(config, fields)))
        self._prepare(vm)
        self._made.append(vm)
        return vm.__enter__()

    def end(self) -> None:
        """Remove the VMs."""
        made, self._made = self._made, []
        _stop(made)


class Vms:
    """Virtual machines of the fixture `vm`.

    Tests with VMs of their own take turns with one, which is reset between them. A VM with another
    config takes its place.

    Args:
        prepare: Called with each VM before its start.
    """

    def __init__(self, prepare: Callable[[VmSession], None]) -> None:
        """Begin without VMs."""
        self._prepare = prepare
        self._idle: tuple[VmConfig, VmSession] | None = None
        self._shared: list[tuple[Wanted[VmConfig], VmSession]] = []

    @contextlib.contextmanager
    def vm(self, wanted: Wanted[VmConfig], item: pytest.Item) -> Iterator[VmSession]:
        """Give a test its VM in this block.

        Args:
            wanted: VM that the test's marker describes.
            item: The test, which gets a warning if it leaves the shared VM of several tests dead.

        Raises:
            VmError: The VM cannot be started; nothing stays behind.
        """
        if not wanted.is_own:
            vm = self._share(wanted)
            yield vm
            died = _death_of(vm)
            if died is not None:
                item.warn(DeadVmWarning(vm.name, died))
            return
        vm = self._take(wanted.config)
        try:
            yield vm
        finally:
            self._give_back(wanted.config, vm)

    def end(self) -> None:
        """Remove all VMs."""
        vms = [vm for _, vm in self._shared]
        if self._idle is not None:
            vms.append(self._idle[1])
        self._shared, self._idle = [], None
        _stop(vms)

    def _take(self, config: VmConfig) -> VmSession:
        idle, self._idle = self._idle, None
        if idle is not None and idle[0] == config:
            idle[1].reset()
            return idle[1]
        if idle is not None:
            idle[1].stop()
        return self._start(config)

    def _give_back(self, config: VmConfig, vm: VmSession) -> None:
        vm.close()
        try:
            vm.machine.pause()  # what a test has left in it takes no time from the next one
        except VmError:
            vm.stop()
        else:
            self._idle = (config, vm)

    def _share(self, wanted: Wanted[VmConfig]) -> VmSession:
        for other, vm in self._shared:
            if other == wanted:
                if _death_of(vm) is not None:
                    vm.reset()
                return vm
        vm = self._start(wanted.config)
        self._shared.append((wanted, vm))
        wanted.owner.addfinalizer(partial(self._retire, wanted, vm))
        return vm

    def _start(self, config: VmConfig) -> VmSession:
        vm = VmSession(MicroVm(config))
        self._prepare(vm)
        return vm.__enter__()

    def _retire(self, wanted: Wanted[VmConfig], vm: VmSession) -> None:
        self._shared = [each for each in self._shared if each[1] is not vm]
        vm.stop()


class DeadVmWarning(pytest.PytestWarning):
    """Warning about a test that leaves the shared VM of several tests dead.

    Args:
        name: Name of the VM.
        died: Why it is dead.
    """

    def __init__(self, name: str, died: VmError) -> None:
        """Build the message."""
        reason = printable(str(died).splitlines()[0])
        super().__init__(
            f"this test leaves the shared VM '{name}' dead, and the next test gets it as new: "
            f"{reason}"
        )


def _death_of(vm: VmSession) -> VmError | None:
    """Return the error that says why a VM is dead; None if it runs."""
    try:
        vm.machine.check()
    except VmError as error:
        return error
    return None


def _stop(vms: list[VmSession]) -> None:
    """Remove VMs; the first failure is raised at the end."""
    with contextlib.ExitStack() as stack:
        for vm in vms:
            stack.callback(vm.stop)
