"""Disks and networks of the nodes of one LISA environment, as its requirements ask for them.

Each node has one network interface to this machine. The nodes of an environment with several nodes
share a private network; each further interface that a case asks for is on another private network.
"""

from __future__ import annotations

from lisa import schema

from lisa_container.microvm import Nic, PrivateNetwork

_PREFIX_LENGTH = 24
# Numbers of the networks and of the hosts in 10.91.0.1/24, 10.92.0.1/24 and so on.
_FIRST_NETWORK, _FIRST_HOST = 91, 1


class EnvironmentNetworks:
    """Private networks of an environment.

    Args:
        node_count: number of the environment's nodes.
    """

    def __init__(self, node_count: int) -> None:
        """Begin without networks."""
        self._least = 1 if node_count > 1 else 0
        self._networks: list[PrivateNetwork] = []

    def nics_of(self, requirement: schema.NodeSpace, index: int) -> list[Nic]:
        """Return a node's network interfaces on private networks.

        Args:
            requirement: requirement of the node, with chosen values. Its number of interfaces
                becomes the real one.
            index: number of the node, from 0.
        """
        interfaces = requirement.network_interface
        assert interfaces is not None and isinstance(interfaces.nic_count, int), "chosen values"
        count = max(interfaces.nic_count - 1, self._least)
        interfaces.nic_count = 1 + count
        while len(self._networks) < count:
            self._networks.append(PrivateNetwork())
        host = _FIRST_HOST + index
        return [
            Nic(network, f"10.{_FIRST_NETWORK + number}.0.{host}/{_PREFIX_LENGTH}")
            for number, network in enumerate(self._networks[:count])
        ]


def data_disks_of(requirement: schema.NodeSpace) -> list[int]:
    """Return the sizes in GiB of a node's data disks.

    Args:
        requirement: requirement of the node, with chosen values.
    """
    disk = requirement.disk
    assert disk is not None and isinstance(disk.data_disk_count, int), "chosen values"
    assert isinstance(disk.data_disk_size, int), "chosen values"
    return [disk.data_disk_size] * disk.data_disk_count
