"""Cases for tests of the platform `type: microvm` that check what an environment asks for."""

from __future__ import annotations

from assertpy import assert_that
from lisa import (
    Environment,
    Node,
    TestCaseMetadata,
    TestSuite,
    TestSuiteMetadata,
    schema,
    search_space,
    simple_requirement,
)
from lisa.features import Disk, NetworkInterface
from lisa.node import RemoteNode
from lisa.tools import Cat, Lsblk, Lscpu

# Registers the platform.
import lisa_container  # noqa: F401


@TestSuiteMetadata(area="microvm_nodes", category="functional", description="nodes that are VMs")
class MicroVmNodes(TestSuite):
    @TestCaseMetadata(
        description="two nodes with disks and a network",
        requirement=simple_requirement(
            min_count=2,
            disk=schema.DiskOptionSettings(
                data_disk_count=search_space.IntRange(min=1),
                data_disk_size=search_space.IntRange(min=3),
            ),
        ),
    )
    def verify_disks_and_network(self, environment: Environment) -> None:
        nodes = [node for node in environment.nodes.list() if isinstance(node, RemoteNode)]
        addresses = [node.internal_address for node in nodes]
        assert_that(addresses).is_equal_to(["10.91.0.1", "10.91.0.2"])
        for node, other in zip(nodes, reversed(addresses)):
            node.execute(f"ping -c 2 -W 5 {other}", expected_exit_code=0)
            node.execute(f"ssh-keyscan -T 20 {other}", expected_exit_code=0)
            (disk,) = node.features[Disk].get_raw_data_disks()
            found = {each.device_name: each for each in node.tools[Lsblk].get_disks()}
            assert_that(found[disk].size_in_gb).is_equal_to(3)
            node.execute(f"mkfs.ext4 -q {disk}", sudo=True, expected_exit_code=0)
            assert_that(node.features[NetworkInterface].get_nic_count(False)).is_equal_to(2)
            interface = node.capability.network_interface
            assert interface is not None
            assert_that(interface.nic_count).is_equal_to(2)
            interfaces = node.execute("ls /sys/class/net", shell=True).stdout.split()
            assert_that(interfaces).contains("eth0", "eth1")

    @TestCaseMetadata(description="a node whose image is a disk")
    def verify_disk_image(self, node: Node) -> None:
        assert_that(node.execute("cloud-init status", sudo=True).stdout).contains("done")
        assert_that(node.tools[Cat].read("/etc/by-user-data")).is_equal_to("yes")
        assert_that(node.tools[Lscpu].get_thread_count()).is_equal_to(2)
        assert_that(node.execute("hostname").stdout).is_equal_to("node0")
        assert_that(node.execute("id -un").stdout).is_equal_to("lisatest")
        sizes = node.execute("lsblk -bnro SIZE /dev/vda", expected_exit_code=0).stdout.split()
        disk, boot, root = map(int, sizes)
        assert_that(disk - boot - root).is_less_than(16 << 20)
