"""LISA features of a virtual machine: console, switching off and on, disks, interfaces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lisa import features
from lisa.features import StopState
from lisa.features.startstop import VMStatus
from lisa.node import Node

from lisa_container.errors import VmError
from lisa_container.microvm import MicroVm


@dataclass
class MicroVmContext:
    """VM of a LISA node."""

    vm: MicroVm | None = None


def vm_of(node: Node) -> MicroVm:
    """Return the VM of a node.

    Args:
        node: a node of the platform `type: microvm`.

    Raises:
        VmError: it has no VM.
    """
    vm = node.get_context(MicroVmContext).vm
    if vm is None:
        raise VmError(f"node '{node.name}' has no VM of the platform 'microvm'")
    return vm


class SerialConsole(features.SerialConsole):
    """Output of the serial console since the VM's start or last reset."""

    def _get_console_log(self, saved_path: Path | None) -> bytes:
        return vm_of(self._node).console.encode("utf-8", "surrogateescape")


class StartStop(features.StartStop):
    """Switching the VM off and on; the disk stays, the memory does not."""

    def _stop(self, wait: bool = True, state: StopState = StopState.Shutdown) -> None:
        if state is StopState.Hibernate:
            raise NotImplementedError("a microvm cannot hibernate; stop it with StopState.Shutdown")
        vm_of(self._node).power_off()

    def _start(self, wait: bool = True) -> None:
        vm_of(self._node).power_on()

    def _restart(self, wait: bool = True) -> None:
        vm_of(self._node).power_off()
        vm_of(self._node).power_on()

    def get_status(self) -> VMStatus:
        """Return whether the VM runs."""
        return VMStatus.Running if vm_of(self._node).is_on else VMStatus.Deallocated


class Disk(features.Disk):
    """Disks of the VM. They are those that it was started with."""

    def get_raw_data_disks(self) -> list[str]:
        """Return the devices of the data disks."""
        return vm_of(self._node).data_disks


class NetworkInterface(features.NetworkInterface):
    """Network interfaces of the VM. They are those that it was started with."""

    def is_enabled_sriov(self) -> bool:
        """Return False: QEMU's interfaces are synthetic."""
        return False

    def get_nic_count(self, is_sriov_enabled: bool = True) -> int:
        """Return the number of interfaces with or without SR-IOV.

        Args:
            is_sriov_enabled: whether to count those with it.
        """
        return 0 if is_sriov_enabled else 1 + len(vm_of(self._node).private_addresses)
