"""Switch between a sandbox's nodes, and their uplink.

The switch is a bridge in the keeper's network namespace. Each node has a port, and so has the
machine: the machine's end of that veth has the first address of the subnet and is the gateway.

    node0 eth0 ----+
                   +---- switch ---- lcsb<n> on the machine ---- (masquerade) ---- outside
    node1 eth0 ----+

The bridge has its own namespace for two reasons. Frames between nodes do not pass the machine's
firewall (with br_netfilter they would, and Docker's FORWARD policy would drop them). And when the
keeper dies, the kernel removes the switch and every veth.
"""

from __future__ import annotations

import ipaddress
import json
import os
import random
from contextlib import suppress
from pathlib import Path

from . import forwarding
from .commands import KeeperError, run
from .kernel import leave_network, network_of

# Range for test networks (RFC 2544). Providers do not route it; Docker and clouds do not assign it.
RANGE = ipaddress.IPv4Network("198.18.0.0/15")
_PREFIX = 24
_SWITCH = "switch"
# MTU of Ethernet, for a machine without a default route.
_DEFAULT_MTU = 1500
# .1 is the machine. The first node is .10, which is easy to tell apart.
_FIRST_NODE = 10

Subnet = ipaddress.IPv4Network


class Network:
    """Network of a sandbox. Call `create`, `connect`, `plug` and `remove` in this order.

    Constructing the object moves the calling process into the switch's network namespace.

    Args:
        sandbox_id: id of the sandbox, part of the firewall table's name.

    Attributes:
        machine: file descriptor of the machine's network namespace.
        interface: the sandbox's interface on the machine.
        subnet: subnet of the nodes.
        mtu: MTU of the machine's uplinks and of the nodes, in bytes.
        uplinks: interfaces of the machine's default routes.
    """

    interface: str
    subnet: Subnet
    mtu: int
    uplinks: list[str]

    def __init__(self, sandbox_id: str) -> None:
        """Create nothing yet."""
        self._table = f"lisa_container_{sandbox_id}"
        self._taken = False
        self.machine, self._switch = leave_network()

    def create(self) -> None:
        """Take an unused subnet and create the switch.

        Raises:
            KeeperError: no subnet is free.
        """
        with network_of(self.machine):
            self.uplinks, self.mtu = _find_uplinks()
            self._take_subnet()
        run("ip", "-batch", "-", stdin=self._switch_commands())

    @property
    def gateway(self) -> str:
        """Address of the machine in the nodes' subnet."""
        return str(self.subnet[1])

    def address(self, index: int) -> str:
        """Return the address of a node by its number, from 0."""
        return str(self.subnet[_FIRST_NODE + index])

    def connect(self, forwarding_files: list[Path]) -> None:
        """Connect the nodes to the outside.

        Args:
            forwarding_files: kernel files that enable forwarding on this interface and on the
                uplinks.
        """
        with network_of(self.machine):
            run("ip", "-batch", "-", stdin=self._machine_commands())
            for file in forwarding_files:
                file.write_text("1\n", encoding="ascii")
            run("nft", "-f", "-", stdin=masquerade(self._table, self.subnet, self.interface))
            forwarding.allow(self.interface, self._table)

    def plug(self, nodes: dict[int, int]) -> None:
        """Create a port for every node. Its name in the node is eth0.

        Args:
            nodes: pid of a process in each node's network namespace, by the node's number.
        """
        mtu = f"mtu {self.mtu}"
        lines = []
        for index, pid in nodes.items():
            port = f"port{index}"
            lines += [
                f"link add {port} {mtu} type veth peer name eth0 {mtu} netns {pid}",
                f"link set {port} master {_SWITCH} up",
            ]
        run("ip", "-batch", "-", stdin="\n".join(lines))

    def remove(self) -> None:
        """Remove the machine's interface. The others disappear with their namespaces."""
        if self._taken:
            with network_of(self.machine), suppress(KeeperError):
                run("ip", "link", "delete", self.interface)

    def _take_subnet(self) -> None:
        # Two keepers may try the same subnet at the same time. The interface's name contains the
        # subnet's number, and the kernel allows each name only once.
        switch = f"/proc/{os.getpid()}/fd/{self._switch}"
        routed = _routed()
        subnets = list(enumerate(RANGE.subnets(new_prefix=_PREFIX)))
        # In random order, so that a new node rarely has the address of one that just ended.
        random.shuffle(subnets)
        for index, subnet in subnets:
            if any(subnet.overlaps(other) for other in routed):
                continue
            mtu = f"mtu {self.mtu}"
            self.interface, self.subnet = f"lcsb{index}", subnet
            peer = f"peer name uplink {mtu} netns {switch}"
            try:
                run("ip", *f"link add {self.interface} {mtu} type veth {peer}".split())
            except KeeperError as error:
                if "File exists" in str(error):
                    continue
                raise
            self._taken = True
            return
        raise KeeperError(
            f"all of {RANGE} is in use on this machine; see `ip route`, and end a sandbox"
        )

    def _switch_commands(self) -> str:
        return "\n".join(
            (
                "link set lo up",
                f"link add {_SWITCH} mtu {self.mtu} type bridge stp_state 0 forward_delay 0",
                f"link set uplink master {_SWITCH} up",
                f"link set {_SWITCH} up",
            )
        )

    def _machine_commands(self) -> str:
        return "\n".join(
            (
                # A test may run a router on a node. The machine must not accept its advertisements.
                f"link set {self.interface} addrgenmode none",
                f"addr add {self.gateway}/{_PREFIX} dev {self.interface}",
                f"link set {self.interface} up",
            )
        )


def masquerade(table: str, subnet: Subnet, interface: str) -> str:
    """Return an nftables table that lets the nodes out with the machine's address.

    Args:
        table: name of the table.
        subnet: subnet of the nodes.
        interface: the sandbox's interface on the machine.
    """
    return (
        f"table ip {table} {{\n"
        "  chain postrouting {\n"
        "    type nat hook postrouting priority 100; policy accept;\n"
        f'    ip saddr {subnet} oifname != "{interface}" masquerade\n'
        "  }\n"
        "}\n"
    )


def forwarding_file(interface: str) -> Path:
    """Return the kernel file that enables forwarding of packets from an interface."""
    return Path("/proc/sys/net/ipv4/conf") / interface / "forwarding"


def remove_rules(sandbox_id: str) -> None:
    """Remove a sandbox's firewall rules, if any, from the current network namespace."""
    table = f"lisa_container_{sandbox_id}"
    with suppress(KeeperError):
        run("nft", "list", "table", "ip", table)
        run("nft", "delete", "table", "ip", table)
    forwarding.disallow(table)


def _find_uplinks() -> tuple[list[str], int]:
    """Return the interfaces of the machine's default routes, and the smallest MTU among them."""
    routes = json.loads(run("ip", "-4", "-json", "route", "show", "default") or "[]")
    names = sorted({route["dev"] for route in routes if "dev" in route})
    links = json.loads(run("ip", "-json", "link", "show"))
    mtus = [link["mtu"] for link in links if link["ifname"] in names]
    return names, min(mtus, default=_DEFAULT_MTU)


def _routed() -> list[Subnet]:
    """Return the subnets that the machine has routes or addresses for, except the default route."""
    routes = json.loads(run("ip", "-4", "-json", "route", "show", "table", "all") or "[]")
    taken = []
    for route in routes:
        with suppress(ValueError):
            subnet = ipaddress.ip_network(str(route.get("dst", "")), strict=False)
            if isinstance(subnet, Subnet) and subnet.prefixlen > 1:
                taken.append(subnet)
    return taken
