"""Rules in the machine's own FORWARD chain if that chain drops packets.

Netfilter drops a packet if any table does, so accepting it in a table of ours does not help. Docker
sets the policy of FORWARD to DROP. A sandbox beside a running Docker can reach the outside only if
that chain accepts its packets. So two rules are added to the chain; they carry the sandbox's id and
are removed with it. A chain that accepts everything is not changed, and no table is created.
"""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path

from .commands import KeeperError, run

# Both kinds can be in use on one machine, each with its own FORWARD chain.
_NFT = "iptables-nft"
_LEGACY = "iptables-legacy"


def allow(interface: str, comment: str) -> None:
    """Accept packets from and to an interface in every FORWARD chain that drops packets.

    Args:
        interface: the sandbox's interface on the machine.
        comment: comment of the rules, by which `disallow` finds them.
    """
    mark = ("-m", "comment", "--comment", comment, "-j", "ACCEPT")
    for command in _present():
        if _listing(command) == ["-P FORWARD ACCEPT"]:
            continue
        for direction in ("-i", "-o"):
            run(command, "-w", "-I", "FORWARD", direction, interface, *mark)


def disallow(comment: str) -> None:
    """Remove the rules that `allow` added with this comment, if any."""
    for command in _present():
        for rule in _listing(command):
            words = shlex.split(rule)
            if words[0] == "-A" and comment in words:
                run(command, "-w", "-D", *words[1:])


def _present() -> list[str]:
    """Return the iptables commands with a filter table, without creating one by asking iptables."""
    present = []
    with suppress(KeeperError):
        run("nft", "list", "chain", "ip", "filter", "FORWARD")
        present.append(_NFT)
    tables = Path("/proc/net/ip_tables_names")
    if tables.exists() and "filter" in tables.read_text(encoding="ascii").split():
        present.append(_LEGACY)
    return present


def _listing(command: str) -> list[str]:
    return run(command, "-w", "-S", "FORWARD").splitlines()
