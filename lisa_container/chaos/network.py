"""Fault `network`: packets that a container sends are late, lost, doubled or damaged."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass
from typing import ClassVar

from lisa_container.chaos.fault import Fault, Figures
from lisa_container.chaos.target import Target
from lisa_container.config.checks import illegal
from lisa_container.engine.tcp import open_tcp
from lisa_container.errors import FaultError

# A port on which nothing listens: the kernel of the container refuses the connection at once.
_PORT = 9
_PROBES = 5
# Seconds after which a connection counts as lost, below the second after which TCP tries again.
_LOST = 0.9
# Probes for a share of packets: so many that none is hit with a chance of 0.1 %, and not more than.
_DOUBT, _MOST_PROBES = 0.001, 3000


@dataclass(frozen=True)
class NetworkFault(Fault):
    """Disturb the packets that a container sends, by the kernel's netem (tc-netem(8)).

    Attributes:
        delay: Seconds by which each packet is late.
        jitter: Seconds by which the delay varies.
        loss: Share of packets that are lost, from 0 to 1.
        corrupt: Share of packets of which a bit is damaged, from 0 to 1.
        duplicate: Share of packets that are sent twice, from 0 to 1.
        reorder: Share of packets that are sent at once, before delayed ones; needs a delay.
        interface: Network interface in the container.
    """

    kind: ClassVar[str] = "network"
    bite_seconds: ClassVar[float] = 60.0

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    corrupt: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    interface: str = "eth0"

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        for name in ("delay", "jitter"):
            value = getattr(self, name)
            if not 0 <= value <= 100:
                raise illegal(name, value, "seconds, from 0 to 100")
        for name in ("loss", "corrupt", "duplicate", "reorder"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise illegal(name, value, "a share of packets, from 0 to 1")
        if not (self.delay or self.loss or self.corrupt or self.duplicate):
            raise illegal("delay", self.delay, "a delay, a loss, a corruption or a duplication")
        if (self.jitter or self.reorder) and not self.delay:
            raise illegal("delay", self.delay, "a delay, with jitter or reordering")
        if not self.interface.replace("-", "").replace(".", "").isalnum():
            raise illegal("interface", self.interface, "the name of a network interface")

    def check(self, target: Target) -> None:
        """Refuse a node without netem, and a container whose traffic is controlled already."""
        super().check(target)
        if not target.address:
            raise FaultError(f"{target} has no network of its own, which the fault could disturb")
        if not target.run("command -v tc || :"):
            raise FaultError(
                f"node '{target.engine.name}' has no tc: install the package iproute2 (iproute-tc "
                "on Red Hat) there"
            )
        said = target.run("unshare -n tc qdisc add dev lo root netem delay 1ms 2>&1 || :")
        if said:
            raise FaultError(
                f"the kernel of node '{target.engine.name}' lacks netem, CONFIG_NET_SCH_NETEM "
                f"(the module sch_netem): tc says '{said}'"
            )
        state = self.state(target)
        # A queue that the kernel has made by itself has the handle 0.
        if not state or " 0: root " not in f"{state} ":
            raise FaultError(
                f"the traffic of {target} is controlled already on '{self.interface}': "
                f"{state or 'there is no such interface'}"
            )

    def state(self, target: Target) -> str | None:
        """Return the queues of the interface."""
        now = target.look()
        if now is None or not now.pid:
            return None
        return now.run(now.in_network(f"tc qdisc show dev {self.interface} 2>&1 || :"))

    def measure(self, target: Target) -> Figures:
        """Return the median time of a refused connection in seconds."""
        limit = _LOST + 2 * (self.delay + self.jitter)
        times = sorted(_connect(target, limit) for _ in range(_PROBES))
        return (times[len(times) // 2],)

    def strike(self, target: Target, id: str) -> None:
        """Add the queue."""
        words = [f"tc qdisc add dev {self.interface} root netem"]
        if self.delay:
            words.append(f"delay {self.delay * 1e6:.0f}us {self.jitter * 1e6:.0f}us")
        for name in ("loss", "corrupt", "duplicate", "reorder"):
            if getattr(self, name):
                words.append(f"{name} {getattr(self, name) * 100:.6f}%")
        target.run(target.in_network(" ".join(words)))

    def undo(self, target: Target, id: str) -> str:
        """Return a script that removes the queue."""
        device = f"dev {self.interface}"
        return target.for_network(
            f"inside tc qdisc del {device} root 2>/dev/null\n"
            f"! inside tc qdisc show {device} 2>/dev/null | grep -q ' netem '"
        )

    def missing(self, target: Target, before: Figures) -> str:
        """Return why the effect is not seen: connections are as quick, or none is lost."""
        if self.delay:
            grown = self.measure(target)[0] - before[0]
            if grown < (self.delay - self.jitter) / 2:
                return f"connections to {target} take only {grown:.4f} s longer"
            return ""
        share = max(self.loss, self.corrupt)
        if not share:
            return self._without_copies(target)
        count = min(_probes_for(share), _MOST_PROBES)
        for _ in range(count):
            if _connect(target, _LOST) >= _LOST:
                return ""
        return f"none of {count} connections to {target} was lost"

    def _without_copies(self, target: Target) -> str:
        """Return why no packet was sent twice: there were as many answers as questions."""
        count = min(_probes_for(self.duplicate), _MOST_PROBES)
        begin = self._sent(target)
        for _ in range(count):
            _connect(target, _LOST)
        sent = self._sent(target) - begin
        return f"{target} sent {sent} packets in {count} answers" if sent <= count else ""

    def _sent(self, target: Target) -> int:
        """Return the packets that the container's interface has sent."""
        line = target.run(f"grep '{self.interface}:' /proc/{target.pid}/net/dev")
        return int(line.partition(":")[2].split()[9])


def _probes_for(share: float) -> int:
    """Return how many packets have one that is hit by a share, with a certainty of 99.9 %."""
    return math.ceil(math.log(_DOUBT) / math.log(1 - min(share, 0.999)))


def _connect(target: Target, limit: float) -> float:
    """Return the seconds until a connection is refused, or those of the limit."""
    begin = time.monotonic()
    with contextlib.suppress(OSError):
        open_tcp(target.engine.node, target.address, _PORT, limit).close()
    return min(limit, time.monotonic() - begin)
