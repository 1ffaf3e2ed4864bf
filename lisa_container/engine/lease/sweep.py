"""What dead runs left on a node goes: after a reboot, say, or where a watcher was killed."""

from __future__ import annotations

import threading

from lisa_container.engine.client import Engine
from lisa_container.engine.lease.report import Leases, Resource, State, list_resources
from lisa_container.engine.lease.shell import NodeShell, run_program
from lisa_container.errors import EngineError


def sweep(engine: Engine, shell: NodeShell, with_kept: bool = False) -> list[tuple[Resource, str]]:
    """Remove what belongs to no living run. What carries no lease is not even looked at.

    Args:
        engine: of the node.
        shell: of the node.
        with_kept: also what is kept on purpose.

    Returns:
        What could not be removed, each with the reason.

    Raises:
        EngineError: the engine or the node does not answer.
    """
    # Resources first: a lease is there before what carries it, so that none looks orphaned.
    resources = list_resources(engine)
    leases = Leases.read(shell)
    failures = []
    for resource in resources:
        state = leases.state_of(resource)
        if state is State.EXPIRED or (with_kept and state is State.KEPT):
            try:
                resource.remove(engine)
            except EngineError as error:
                failures.append((resource, str(error)))
    for lease in leases.all.values():
        if lease.state == "dead":
            run_program(shell, "reap", lease.folder)
    there = {resource.id for resource in resources}
    gone = leases.kept if with_kept else leases.kept - there
    if gone:
        run_program(shell, "unkeep", *sorted(gone))
    return failures


def sweep_at_first_contact(engine: Engine, shell: NodeShell, leases: Leases) -> None:
    """Sweep in the background where there is anything to sweep. Looking takes a few milliseconds.

    Args:
        engine: of the node.
        shell: of the node.
        leases: read just before.
    """
    try:
        resources = list_resources(engine)
    except EngineError as error:
        engine.node.log.debug(f"node '{engine.name}' is not swept: {error}")
        return
    is_clean = (
        all(leases.state_of(resource) is State.ALIVE for resource in resources)
        and all(lease.state != "dead" for lease in leases.all.values())
        and not leases.kept
    )
    if not is_clean:
        threading.Thread(
            target=_sweep_quietly, args=(engine, shell), name="lease-sweep", daemon=True
        ).start()


def _sweep_quietly(engine: Engine, shell: NodeShell) -> None:
    try:
        for resource, reason in sweep(engine, shell):
            engine.node.log.debug(
                f"{resource.what} '{resource.name}' of a dead run stays: {reason}"
            )
    except EngineError as error:
        engine.node.log.debug(f"sweeping node '{engine.name}' failed: {error}")
