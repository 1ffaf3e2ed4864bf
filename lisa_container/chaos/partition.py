"""Fault `partition`: a container is cut off from another one, or from everything."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import ClassVar

from lisa_container.chaos.fault import Fault, Figures
from lisa_container.chaos.target import Target
from lisa_container.engine.tcp import open_tcp
from lisa_container.errors import FaultError

_PORT = 9
# Seconds without an answer after which a connection counts as cut.
_CUT = 2.0


@dataclass(frozen=True)
class Partition(Fault):
    """Drop the packets between a container and another one, or all but those to itself.

    Attributes:
        peer: Name of the other container, on the same node; empty means everything.
    """

    kind: ClassVar[str] = "partition"
    bite_seconds: ClassVar[float] = 20.0

    peer: str = ""

    def check(self, target: Target) -> None:
        """Refuse a node without iptables, and containers without a network of their own."""
        super().check(target)
        for each in (target, *self._peers(target)):
            if not each.address:
                raise FaultError(f"{each} has no network of its own, which could be cut")
        if not target.run("command -v iptables || :"):
            raise FaultError(
                f"node '{target.engine.name}' has no iptables: install the package iptables there"
            )

    def state(self, target: Target) -> str | None:
        """Return the rules in the container's network."""
        now = target.look()
        if now is None or not now.pid:
            return None
        return now.run(now.in_network("iptables -w -S"))

    def measure(self, target: Target) -> Figures:
        """Return the seconds until a connection to the container is refused."""
        peers = self._peers(target)
        begin = time.monotonic()
        if peers:
            # The exit code of the connection does not matter: it is refused, or cut off.
            dial = f"timeout {_CUT:g} bash -c ': </dev/tcp/{target.address}/{_PORT}' 2>/dev/null"
            peers[0].run(f"{peers[0].in_network(dial)} || :")
        else:
            with contextlib.suppress(OSError):
                open_tcp(target.engine.node, target.address, _PORT, _CUT).close()
        return (time.monotonic() - begin,)

    def strike(self, target: Target, id: str) -> None:
        """Add a chain of rules."""
        chain = _chain(id)
        peers = self._peers(target)
        pairs = [(f"-s {peer.address}", f"-d {peer.address}") for peer in peers]
        rules = [
            rule
            for source, goal in pairs or [("! -i lo", "! -o lo")]
            for rule in (f"INPUT {source}", f"OUTPUT {goal}")
        ]
        lines = [f"-N {chain}", f"-A {chain} -j DROP", *(f"-I {rule} -j {chain}" for rule in rules)]
        target.run(" &&\n".join(target.in_network(f"iptables -w {line}") for line in lines))

    def undo(self, target: Target, id: str) -> str:
        """Return a script that removes the chain and the rules that lead to it."""
        chain = _chain(id)
        return target.for_network(f"""\
inside iptables -w -S | grep -- '-j {chain}$' | sed 's/^-A/-D/' | while read -r rule; do
    inside iptables -w $rule
done
inside iptables -w -F {chain} 2>/dev/null
inside iptables -w -X {chain} 2>/dev/null
! inside iptables -w -S | grep -q {chain}""")

    def missing(self, target: Target, before: Figures) -> str:
        """Return why the effect is not seen: a connection is answered."""
        (took,) = self.measure(target)
        return f"{target} answers after {took:.3f} s" if took < _CUT else ""

    def _peers(self, target: Target) -> list[Target]:
        return [Target.of(target.engine, self.peer)] if self.peer else []


def _chain(id: str) -> str:
    # iptables(8): at most 28 characters.
    return f"LISA_{id}"
