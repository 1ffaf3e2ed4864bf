"""What dead runs left on a node goes: after a reboot, say, or where a watcher was killed."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from lisa_container.engine.client import Engine
from lisa_container.engine.lease.report import Leases, NodeLease, Resource, State, list_resources
from lisa_container.engine.lease.shell import run_program, shell_of
from lisa_container.errors import EngineError


@dataclass(frozen=True)
class Findings:
    """What carries a lease on a node, and the leases."""

    resources: list[Resource]
    leases: Leases

    @classmethod
    def of(cls, engine: Engine) -> Findings:
        """Look at a node.

        Raises:
            EngineError: the engine or the node does not answer.
        """
        # Resources first: a lease is there before what carries it, so that none looks orphaned.
        resources = list_resources(engine)
        return cls(resources, Leases.read(shell_of(engine)))

    def doomed(self, with_kept: bool = False) -> list[Resource]:
        """What belongs to no living run.

        Args:
            with_kept: also what is kept on purpose.
        """
        states = {State.EXPIRED, State.KEPT} if with_kept else {State.EXPIRED}
        return [item for item in self.resources if self.leases.state_of(item) in states]

    @property
    def dead_leases(self) -> list[NodeLease]:
        """Those whose watcher is gone."""
        return [lease for lease in self.leases.all.values() if lease.state == "dead"]

    @property
    def forgotten(self) -> set[str]:
        """Marks of kept things that somebody has removed."""
        return set(self.leases.kept) - {resource.id for resource in self.resources}


def sweep(
    engine: Engine, findings: Findings, with_kept: bool = False
) -> list[tuple[Resource, str]]:
    """Remove what belongs to no living run. What carries no lease is not even looked at.

    Args:
        engine: of the node.
        findings: of the node, just now.
        with_kept: also what is kept on purpose.

    Returns:
        What was to go, each with the reason why it did not, or an empty string.

    Raises:
        EngineError: the engine or the node does not answer.
    """
    shell = shell_of(engine)
    results = []
    unmarked = findings.forgotten
    for resource in findings.doomed(with_kept):
        try:
            resource.remove(engine)
            unmarked |= {resource.id} & findings.leases.kept
            results.append((resource, ""))
        except EngineError as error:
            results.append((resource, str(error)))
    for lease in findings.dead_leases:
        run_program(shell, "reap", lease.folder)
    if unmarked:
        run_program(shell, "unkeep", *sorted(unmarked))
    return results


def sweep_at_first_contact(engine: Engine, leases: Leases) -> None:
    """Sweep in the background where there is anything to sweep. Looking takes a few milliseconds.

    Args:
        engine: of the node.
        leases: read just before; good enough to see that there is nothing.
    """
    try:
        seen = Findings(list_resources(engine), leases)
    except EngineError as error:
        engine.node.log.debug(f"node '{engine.name}' is not swept: {error}")
        return
    if seen.doomed() or seen.dead_leases or seen.forgotten:
        threading.Thread(
            target=_sweep_quietly, args=(engine,), name="lease-sweep", daemon=True
        ).start()


def _sweep_quietly(engine: Engine) -> None:
    log = engine.node.log
    try:
        for resource, reason in sweep(engine, Findings.of(engine)):
            log.debug(f"{resource.what} '{resource.name}' of a dead run: {reason or 'removed'}")
    except EngineError as error:
        log.debug(f"sweeping node '{engine.name}' failed: {error}")
