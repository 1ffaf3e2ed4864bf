"""Disks that LISA sees in a container: only those that the container's config names.

A container shares the kernel of its node, so `lsblk` there lists the node's disks. It shows the
engine's mounts (`/etc/hosts`), and not the node's, so a disk that the node uses looks free, and a
privileged container could format it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import lisa.tools
from lisa.executable import Tools
from lisa.feature import Features
from lisa.features import Disk, Nvme
from lisa.node import Node
from lisa.tools.lsblk import DiskInfo

if TYPE_CHECKING:
    from lisa_container.node.container_node import ContainerNode

# Features of a platform that choose disks of its nodes.
_DISK_FEATURES = (Disk, Nvme)


class ContainerFeatures(Features):
    """Features of a container's node, which shares its kernel and hardware, without its disks."""

    def __init__(self, host: Node) -> None:
        """Take the features of the node, which has some, without those that choose disks."""
        super().__init__(host, host.features._platform)
        for feature in _DISK_FEATURES:
            self._feature_types.pop(feature.name(), None)


# The names of the two classes below are those of LISA's, since LISA finds a tool by its class name.


class Lsblk(lisa.tools.Lsblk):
    """LISA's tool, with the disks of a container."""

    def get_disks(self, force_run: bool = False) -> list[DiskInfo]:
        """Return the disks that the config's `devices` name and that the node itself does not use.

        Args:
            force_run: Ask again instead of returning an earlier answer.
        """
        node = cast("ContainerNode", self.node)
        given = _given_devices(node)
        if not given:
            return []
        used = {
            disk.device_name
            for disk in node.host.tools[lisa.tools.Lsblk].get_disks(force_run=True)
            if disk.is_mounted
        }
        found: list[DiskInfo] = super().get_disks(force_run)
        return [disk for disk in found if disk.device_name in given - used]


class Nvmecli(lisa.tools.Nvmecli):
    """LISA's tool, with the disks of a container."""

    def get_namespaces(self, force_run: bool = False) -> list[str]:
        """Return the namespaces that the config's `devices` name.

        Args:
            force_run: Ask again instead of returning an earlier answer.
        """
        return self._given(super().get_namespaces(force_run))

    def get_disks(self, force_run: bool = False) -> list[str]:
        """Return the disks that the config's `devices` name.

        Args:
            force_run: Ask again instead of returning an earlier answer.
        """
        return self._given(super().get_disks(force_run))

    def _given(self, found: list[str]) -> list[str]:
        given = _given_devices(cast("ContainerNode", self.node))
        return [name for name in found if name in given]


def _given_devices(node: ContainerNode) -> set[str]:
    """Return the devices of the config that have the node's own names in the container."""
    devices = (item.split(":") for item in node.config.devices)
    return {on_node for on_node, inside, _ in devices if inside == on_node}


_INSTEAD: dict[Any, Any] = {lisa.tools.Lsblk: Lsblk, lisa.tools.Nvmecli: Nvmecli}


class ContainerTools(Tools):
    """LISA's tools for a container: tools that list disks list only the container's."""

    def get(self, tool_type: Any, *args: Any, **kwargs: Any) -> Any:
        """Return a tool; see LISA's `Tools`."""
        return super().get(_INSTEAD.get(tool_type, tool_type), *args, **kwargs)
