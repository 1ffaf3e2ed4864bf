"""Script for a machine of its own: prints the source address of a node's call to the world."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

from lisa_container.platforms.sandbox import start_sandbox
from lisa_container.platforms.sandbox.keeper.kernel import network_of

_WORLD = "203.0.113.1"


def main() -> None:
    world = Path(f"/proc/{os.environ['WORLD']}/ns/net")
    with world.open("rb") as namespace, network_of(namespace.fileno()):
        server = socket.create_server((_WORLD, 80))
    server.settimeout(3)
    before, forward_before = _firewall(), _forward()
    with start_sandbox(1, docker=False) as sandbox:
        forward_during = _forward()
        address = sandbox.nodes[0].address
        sandbox.nodes[0].run(f"timeout 2 bash -c 'exec 3<>/dev/tcp/{_WORLD}/80'", check=False)
        try:
            source = server.accept()[1][0]
        except TimeoutError:
            source = ""
    found = {
        "source": source,
        "address": address,
        "before": before,
        "after": _firewall(),
        "forward before": forward_before,
        "forward during": forward_during,
    }
    os.write(1, f"{json.dumps(found)}\n".encode())


def _firewall() -> str:
    return _output("nft list ruleset; iptables-legacy-save | grep -v '^#'") + _output(
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/forwarding"
    )


def _forward() -> str:
    return _output("nft list chain ip filter FORWARD")


def _output(command: str) -> str:
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False).stdout


if __name__ == "__main__":
    main()
