"""Network of the nodes: to each other and, if the machine has a way, to the world."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from lisa_container.platforms.sandbox import Sandbox, SandboxNode, start_sandbox
from tests.support.nested import on_own_machine

CLOSED_NFT = "iptables-nft -P FORWARD DROP"
CLOSED_LEGACY = "iptables-legacy -P FORWARD DROP"
CLOSED_BY_RULE = "iptables-nft -A FORWARD -j DROP"
OPEN = "iptables-nft -P FORWARD ACCEPT"


def test_nodes_reach_each_other_by_name(pair: Sandbox) -> None:
    first, second = pair.nodes
    first.run("ping -c 1 -W 2 node1")
    second.run("ping -c 1 -W 2 node0")
    assert (
        second.run("bash -c 'read -r banner </dev/tcp/node0/22; echo $banner'").stdout[:4] == "SSH-"
    )


def test_machine_and_node_reach_each_other(first: SandboxNode) -> None:
    with socket.create_connection((first.address, first.port), timeout=5) as connection:
        assert connection.recv(4) == b"SSH-"
    gateway = first.run("ip -4 route show default").stdout.split()[2]
    with socket.create_server((gateway, 0)) as server:
        server.settimeout(5)
        port = server.getsockname()[1]
        first.run(f"bash -c 'echo hello >/dev/tcp/{gateway}/{port}'")
        with server.accept()[0] as connection:
            assert connection.recv(5) == b"hello"


def test_sandboxes_do_not_share_a_subnet(pair: Sandbox) -> None:
    with start_sandbox(1, docker=False) as other:
        subnets = {n.address.rpartition(".")[0] for n in (pair.nodes[0], other.nodes[0])}
        assert len(subnets) == 2


def test_package_sources_are_the_machine_s(first: SandboxNode) -> None:
    update = first.run("apt-get update", check=False, timeout=120)
    assert update.returncode == 0, update.stderr


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "setup",
    ["", OPEN, CLOSED_NFT, CLOSED_LEGACY, CLOSED_BY_RULE, f"{CLOSED_NFT}; {CLOSED_LEGACY}"],
)
@pytest.mark.parametrize("forwarding", [0, 1])
def test_way_out_whatever_the_firewall(tmp_path: Path, setup: str, forwarding: int) -> None:
    setup = f"echo {forwarding} >/proc/sys/net/ipv4/ip_forward; {setup}"
    found = on_own_machine(tmp_path, "way_out_script.py", setup=setup)
    assert found["source"] == "203.0.113.2", "under the machine's own address"
    assert found["after"] == found["before"]
    if "DROP" not in setup:
        assert found["forward during"] == found["forward before"]


def test_machine_without_a_way_out(tmp_path: Path) -> None:
    found = on_own_machine(tmp_path, "way_out_script.py", setup="ip address flush dev cable")
    assert found["source"] == ""
    assert found["after"] == found["before"]


def test_subnets_that_the_machine_has_a_route_to_are_not_taken(tmp_path: Path) -> None:
    # All but the last.
    first_half = "ip route add 198.18.0.0/16 dev cable;"
    setup = first_half + "for i in $(seq 0 254); do ip route add 198.19.$i.0/24 dev cable; done"
    found = on_own_machine(tmp_path, "way_out_script.py", setup=setup)
    assert found["address"] == "198.19.255.10"
