"""The switch between a sandbox's nodes, and their way out.

The switch is a bridge in a network namespace of its own, the keeper's. Each node has one port of
it; so has the machine: a veth whose end on the machine's side holds the subnet's first address and
is the nodes' gateway.

    node0 eth0 ----+
                   +---- switch ---- lcsb<n> on the machine ---- (masquerade) ---- the world
    node1 eth0 ----+

Why a namespace for a bridge: frames between nodes do not pass the machine's firewall (with
br_netfilter they would, and Docker's FORWARD policy would drop them), and when the keeper dies,
however it dies, the kernel removes the switch and every veth with it.
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

# RFC 2544's range for test networks: no provider routes it, Docker and the clouds do not hand it
# out.
RANGE = ipaddress.IPv4Network("198.18.0.0/15")
_PREFIX = 24
_SWITCH = "switch"
# What an Ethernet carries, for a machine without a way out.
_DEFAULT_MTU = 1500
# .1 is the machine; the first node is easy to tell from it.
_FIRST_NODE = 10

Subnet = ipaddress.IPv4Network


class Network:
    """A sandbox's network. The calls in order: `create`, `connect`, `plug`, `remove`.

    Creating the object moves the calling process into the switch's network namespace.

    Args:
        sandbox_id: names the firewall's table.

    Attributes:
        machine: descriptor of the machine's network namespace.
        interface: the sandbox's interface on the machine.
        subnet: the nodes' subnet.
        mtu: of the machine's way out, in bytes; the nodes have the same.
        uplinks: the machine's interfaces that lead out.
    """

    interface: str
    subnet: Subnet
    mtu: int
    uplinks: list[str]

    def __init__(self, sandbox_id: str) -> None:
        self._table = f"lisa_container_{sandbox_id}"
        self._taken = False
        self.machine, self._switch = leave_network()

    def create(self) -> None:
        """Take a subnet that nobody uses, and make the switch.

        Raises:
            KeeperError: no subnet is left.
        """
        with network_of(self.machine):
            self.uplinks, self.mtu = _ways_out()
            self._take_subnet()
        run("ip", "-batch", "-", stdin=self._switch_commands())

    @property
    def gateway(self) -> str:
        """The machine's address as the nodes see it."""
        return str(self.subnet[1])

    def address(self, index: int) -> str:
        """The address of a node, by its number from 0."""
        return str(self.subnet[_FIRST_NODE + index])

    def connect(self, forwarding_files: list[Path]) -> None:
        """Open the way out.

        Args:
            forwarding_files: the kernel's switches for forwarding, of this interface and the
                uplinks.
        """
        with network_of(self.machine):
            run("ip", "-batch", "-", stdin=self._machine_commands())
            for file in forwarding_files:
                file.write_text("1\n", encoding="ascii")
            run("nft", "-f", "-", stdin=masquerade(self._table, self.subnet, self.interface))
            forwarding.allow(self.interface, self._table)

    def plug(self, nodes: dict[int, int]) -> None:
        """Give every node its port; in the node it is called eth0.

        Args:
            nodes: pid of a process in the node's network namespace, by the node's number.
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
        """Take away the machine's end. The switch and the nodes' ends go with their namespaces."""
        if self._taken:
            with network_of(self.machine), suppress(KeeperError):
                run("ip", "link", "delete", self.interface)

    def _take_subnet(self) -> None:
        # Two keepers may want the same subnet at the same time: the interface's name says which one
        # it is, and the kernel gives a name only once.
        switch = f"/proc/{os.getpid()}/fd/{self._switch}"
        routed = _routed()
        subnets = list(enumerate(RANGE.subnets(new_prefix=_PREFIX)))
        # In any order: nobody should take a new node for one that has just ended.
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
                # The nodes are tests' playthings: the machine is to believe no router among them.
                f"link set {self.interface} addrgenmode none",
                f"addr add {self.gateway}/{_PREFIX} dev {self.interface}",
                f"link set {self.interface} up",
            )
        )


def masquerade(table: str, subnet: Subnet, interface: str) -> str:
    """The firewall's table that lets the nodes out under the machine's own address.

    Args:
        table: its name.
        subnet: the nodes'.
        interface: the sandbox's on the machine.
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
    """The kernel's switch for forwarding what arrives at one interface."""
    return Path("/proc/sys/net/ipv4/conf") / interface / "forwarding"


def remove_rules(sandbox_id: str) -> None:
    """Remove a sandbox's firewall rules, in the current network namespace; there may be none."""
    table = f"lisa_container_{sandbox_id}"
    with suppress(KeeperError):
        run("nft", "list", "table", "ip", table)
        run("nft", "delete", "table", "ip", table)
    forwarding.disallow(table)


def _ways_out() -> tuple[list[str], int]:
    """The interfaces of the machine's default routes, and the smallest MTU among them."""
    routes = json.loads(run("ip", "-4", "-json", "route", "show", "default") or "[]")
    names = sorted({route["dev"] for route in routes if "dev" in route})
    links = json.loads(run("ip", "-json", "link", "show"))
    mtus = [link["mtu"] for link in links if link["ifname"] in names]
    return names, min(mtus, default=_DEFAULT_MTU)


def _routed() -> list[Subnet]:
    """What the machine has a route or an address for; the default route is not meant."""
    routes = json.loads(run("ip", "-4", "-json", "route", "show", "table", "all") or "[]")
    taken = []
    for route in routes:
        with suppress(ValueError):
            subnet = ipaddress.ip_network(str(route.get("dst", "")), strict=False)
            if isinstance(subnet, Subnet) and subnet.prefixlen > 1:
                taken.append(subnet)
    return taken
