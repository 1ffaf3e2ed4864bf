"""Order for a lease: data from which a node creates it, also again after a reboot."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from lisa_container.engine.lease.shell import NodeShell, run_program
from lisa_container.errors import EngineError


@dataclass(frozen=True)
class Armed:
    """Lease that a node has made.

    Attributes:
        client: command that its watcher calls: `docker`, `podman`, `curl` or `none`.
        folder: path of its folder.
        owner: user id of its owner.
        boot: mark of the node's boot, which is different after a reboot.
        leases: output of `node.sh leases`.
    """

    client: str
    folder: str
    owner: str
    boot: str
    leases: str


@dataclass(frozen=True)
class Order:
    """Words of `node.sh arm`; none has a line feed.

    Attributes:
        id: id of the lease.
        ttl: seconds that the lease lasts without renewal.
        kind: `docker` or `podman`.
        socket: path of the engine's socket on the node.
        run: LISA's id of the run.
        runner: user, machine and process of the run.
        since: time of the order in ISO 8601.
    """

    id: str
    ttl: int
    kind: str
    socket: str
    run: str
    runner: str
    since: str

    def arm(self, shell: NodeShell) -> Armed:
        """Make the lease on the node.

        Args:
            shell: shell of the node.

        Raises:
            SshLostError: the node cannot be reached.
            EngineError: the node refused; the message is its output.
        """
        words = (" ".join(str(word).split()) for word in astuple(self))
        output = run_program(shell, "arm", *words)
        first, _, rest = output.partition("\n")
        facts = first.split("\t")
        if facts[0] != "armed" or len(facts) != 5:
            raise EngineError(output.strip() or "its shell has no output")
        _, client, folder, owner, boot = facts
        return Armed(client, folder, owner, boot, rest)

    def condition(self, shell: NodeShell, folder: str) -> tuple[str, str]:
        """Ask the node for the mark of its boot, and what has become of the lease.

        Args:
            shell: shell of the node.
            folder: folder of the lease.

        Returns:
            The mark; and `alive`, `expired`, or for a lease without its folder `lost` (its
            containers are there), `gone` (they are not) or `unknown` (the engine does not answer).

        Raises:
            SshLostError, EngineError: the node cannot be reached, or gave no answer.
        """
        output = run_program(shell, "condition", folder, self.kind, self.socket)
        boot, _, condition = output.strip().partition("\n")
        if not condition:
            raise EngineError(f"no answer about the lease: {output.strip()}")
        return boot, condition
