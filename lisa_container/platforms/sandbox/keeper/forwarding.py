"""The machine's own FORWARD chain, where it is closed.

Netfilter drops a packet when any table says so; accepting it in a table of our own does not help.
Docker sets the policy of FORWARD to DROP, so beside a running Docker a sandbox has no way out
unless that very chain lets it. Only there two rules are added, which carry the sandbox's id and go
with it. A chain that lets everything pass is not touched; nor is a table created that was not
there.
"""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path

from .commands import KeeperError, run

# Both kinds can be in use on one machine, each with a FORWARD chain of its own.
_NFT = "iptables-nft"
_LEGACY = "iptables-legacy"


def allow(interface: str, comment: str) -> None:
    """Let what comes from an interface, and what goes to it, pass every closed FORWARD chain.

    Args:
        interface: the sandbox's interface on the machine.
        comment: what to recognise the rules by, see `disallow`.
    """
    mark = ("-m", "comment", "--comment", comment, "-j", "ACCEPT")
    for command in _present():
        if _listing(command) == ["-P FORWARD ACCEPT"]:
            continue
        for direction in ("-i", "-o"):
            run(command, "-w", "-I", "FORWARD", direction, interface, *mark)


def disallow(comment: str) -> None:
    """Remove the rules that `allow` added under this comment; there may be none."""
    for command in _present():
        for rule in _listing(command):
            words = shlex.split(rule)
            if words[0] == "-A" and comment in words:
                run(command, "-w", "-D", *words[1:])


def _present() -> list[str]:
    """The kinds of iptables that have a filter table; asking iptables itself might create one."""
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
