"""Addresses, routes, links and listening sockets of a machine, as iproute2 reports them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lisa_container.errors import RuntimeMachineError
from lisa_container.runtimes.machine import Machine

# Columns of `ss` for listening sockets: protocol, state, two queues, the own address.
_SS_ADDRESS = 4


@dataclass(frozen=True)
class IpAddress:
    """Address of an interface. `label` is that of `ip addr add … label`, or the interface."""

    address: str
    prefix: int
    device: str
    label: str

    def __str__(self) -> str:
        """Return the address and its place, for messages."""
        return f"{self.address}/{self.prefix} on {self.device}, label '{self.label}'"


@dataclass(frozen=True)
class Link:
    """Network interface. `kind` is `veth`, `bridge` and so on, empty for a real one."""

    name: str
    kind: str
    is_up: bool

    def __str__(self) -> str:
        """Return the name, kind and state, for messages."""
        return f"{self.name} ({self.kind or 'no kind'}, {'up' if self.is_up else 'down'})"


@dataclass(frozen=True)
class Route:
    """Route of the main table."""

    destination: str
    via: str
    device: str

    def __str__(self) -> str:
        """Return the way to the destination, for messages."""
        return f"{self.destination}{f' via {self.via}' if self.via else ''} on {self.device}"


@dataclass(frozen=True)
class Listener:
    """Listening socket. `address` is `*`, `0.0.0.0` or `::` for all addresses."""

    protocol: str
    address: str
    port: int

    def __str__(self) -> str:
        """Return protocol, address and port, for messages."""
        return f"{self.protocol} {self.address}:{self.port}"


def read_addresses(machine: Machine) -> list[IpAddress]:
    """Return all addresses of a machine.

    Raises:
        RuntimeMachineError: The machine's iproute2 is missing or too old.
    """
    return parse_addresses(_run(machine, "ip -j addr show"))


def read_links(machine: Machine) -> list[Link]:
    """Return all network interfaces of a machine; errors as for `read_addresses`."""
    return parse_links(_run(machine, "ip -j -d link show"))


def read_routes(machine: Machine) -> list[Route]:
    """Return the routes of the main tables of a machine; errors as for `read_addresses`."""
    return parse_routes(_run(machine, "ip -j -4 route show; echo; ip -j -6 route show"))


def read_listeners(machine: Machine) -> list[Listener]:
    """Return the listening TCP and UDP sockets of a machine; errors as for `read_addresses`."""
    return parse_listeners(_run(machine, "ss -Hltun"))


def parse_addresses(text: str) -> list[IpAddress]:
    """Parse the output of `ip -j addr show`."""
    return [
        IpAddress(
            str(each["local"]),
            int(each["prefixlen"]),
            str(link["ifname"]),
            str(each.get("label") or link["ifname"]),
        )
        for link in _objects(text)
        for each in link.get("addr_info", ())
        if "local" in each
    ]


def parse_links(text: str) -> list[Link]:
    """Parse the output of `ip -j -d link show`."""
    return [
        Link(
            str(link["ifname"]),
            str((link.get("linkinfo") or {}).get("info_kind", "")),
            "UP" in link.get("flags", ()),
        )
        for link in _objects(text)
        if "ifname" in link
    ]


def parse_routes(text: str) -> list[Route]:
    """Parse outputs of `ip -j route show`, one after the other."""
    return [
        Route(str(each["dst"]), str(each.get("gateway", "")), str(each.get("dev", "")))
        for each in _objects(text)
        if "dst" in each
    ]


def parse_listeners(text: str) -> list[Listener]:
    """Parse the output of `ss -Hltun`."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) <= _SS_ADDRESS:
            continue
        address, _, port = words[_SS_ADDRESS].rpartition(":")
        if port.isdecimal():
            found.append(Listener(words[0], _plain(address), int(port)))
    return found


def listed(found: Sequence[object], what: str) -> str:
    """Return a list of things for a message, or say that there is none."""
    return "; ".join(map(str, found)) or f"no {what}"


def _plain(address: str) -> str:
    """Return an address of `ss` without interface and brackets."""
    return address.partition("%")[0].strip("[]") or "*"


def _objects(text: str) -> list[dict[str, Any]]:
    """Return the objects of one or more JSON lists, one after the other."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        values, at = decoder.raw_decode(text, at)
        found += [each for each in values if isinstance(each, dict)]
    return found


def _run(machine: Machine, command: str) -> str:
    result = machine.run(f"PATH=$PATH:/usr/sbin:/sbin; {command}")
    if result.exit_code:
        raise RuntimeMachineError(
            f"'{machine.name}' cannot report its network ('{command}': "
            f"{result.stderr or result.exit_code}). Install iproute2 5.0 or newer there"
        )
    return result.stdout
