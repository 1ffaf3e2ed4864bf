"""Removal of what dead runs left on a node, for example after a reboot."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from lisa_container.engine.client import Engine
from lisa_container.engine.lease.report import Leases, NodeLease, Resource, State, list_resources
from lisa_container.engine.lease.shell import run_program, shell_of
from lisa_container.errors import EngineError
from lisa_container.escaping import printable


@dataclass(frozen=True)
class Findings:
    """Resources on a node that have a lease, and the leases."""

    resources: list[Resource]
    leases: Leases
    chosen: frozenset[str] | None = None
    """Ids of the only resources to remove, without any lease; None chooses all."""

    @classmethod
    def judge(cls, resources: Iterable[Resource], leases: Leases) -> Findings:
        """Return findings without images that only look like a run's."""
        return cls([item for item in resources if leases.prove(item)], leases)

    @classmethod
    def of(cls, engine: Engine) -> Findings:
        """Read the findings of a node.

        Raises:
            EngineError: the engine or the node does not answer.
        """
        # Resources first: a lease is older than its resources, so no new one looks orphaned.
        resources = list_resources(engine)
        return cls.judge(resources, Leases.read(shell_of(engine), resources))

    def list_removable(self, with_kept: bool = False) -> list[Resource]:
        """List the resources that belong to no living run.

        Args:
            with_kept: include kept resources.
        """
        states = {State.EXPIRED, State.KEPT} if with_kept else {State.EXPIRED}
        found = [item for item in self.resources if self.leases.state_of(item) in states]
        return [item for item in found if self.chosen is None or item.id in self.chosen]

    @property
    def dead_leases(self) -> list[NodeLease]:
        """The user's own leases that are neither watched nor renewed."""
        if self.chosen is not None:
            return []
        return [lease for lease in self.leases.all.values() if lease.state == "dead"]

    @property
    def stale_marks(self) -> set[str]:
        """Names of the user's own marks whose resources are gone."""
        if self.chosen is not None:
            return set()
        used = {name for resource in self.resources for name in resource.marks}
        return {name for name in self.leases.own_marks - used if not self.leases.may_use(name)}


def sweep(
    engine: Engine, findings: Findings, with_kept: bool = False
) -> list[tuple[Resource, str]]:
    """Remove the resources that belong to no living run.

    Args:
        engine: the node's engine.
        findings: fresh findings of the node.
        with_kept: remove kept resources too.

    Returns:
        Each of these resources with the error if it was not removed, else an empty string.

    Raises:
        EngineError: the engine or the node does not answer.
    """
    shell = shell_of(engine)
    results = []
    marks = findings.stale_marks
    for resource in findings.list_removable(with_kept):
        try:
            resource.remove(engine)
            marks |= set(resource.marks) & findings.leases.own_marks
            results.append((resource, ""))
        except EngineError as error:
            results.append((resource, str(error)))
    for lease in findings.dead_leases:
        run_program(shell, "reap", lease.folder)
    if marks:
        run_program(shell, "unmark", *sorted(marks))
    return results


def sweep_at_first_contact(engine: Engine, listed: str) -> None:
    """Check for resources of dead runs, and start a sweep in the background if there are any.

    The check takes a few milliseconds.

    Args:
        engine: the node's engine.
        listed: output of `node.sh leases`, read just before.
    """
    try:
        leases = Leases.parse(listed)
        resources = list_resources(engine)
        findings = Findings.judge(resources, leases.with_foreign(shell_of(engine), resources))
    except EngineError as error:
        engine.node.log.debug(f"node '{engine.name}' is not swept: {printable(error)}")
        return
    if findings.list_removable() or findings.dead_leases or findings.stale_marks:
        threading.Thread(
            target=_sweep_quietly, args=(engine,), name="lease-sweep", daemon=True
        ).start()


def _sweep_quietly(engine: Engine) -> None:
    log = engine.node.log
    try:
        for resource, reason in sweep(engine, Findings.of(engine)):
            name, result = printable(resource.name), printable(reason or "removed")
            log.debug(f"{resource.what} '{name}' of a dead run: {result}")
    except EngineError as error:
        log.debug(f"sweeping node '{engine.name}' failed: {printable(error)}")
