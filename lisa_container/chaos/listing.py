"""Faults on a node, of all runs of its user: to list them, and to end them from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

from lisa_container.engine.client import Engine
from lisa_container.engine.labels import TIME_FORMAT
from lisa_container.engine.lease.shell import run_program, shell_of
from lisa_container.errors import EngineError, FaultError


@dataclass(frozen=True)
class ListedFault:
    """Fault that some run has begun.

    Attributes:
        id: Id of the fault.
        kind: Kind of the fault, such as `pause`.
        container: Name of the container.
        begun: Time of its begin by the runner's clock, ISO 8601 in UTC.
        node: Name of the node.
        folder: Folder of the lease on the node.
    """

    id: str
    kind: str
    container: str
    begun: str
    node: str
    folder: str


def describe(kind: str, container: str) -> str:
    """Return the line by which a fault is listed.

    Args:
        kind: Kind of the fault.
        container: Name of the container.
    """
    return f"{kind} {container} {datetime.now(timezone.utc).strftime(TIME_FORMAT)}"


def list_faults(engine: Engine) -> list[ListedFault]:
    """Return the faults on a node, of all runs of its user.

    Args:
        engine: Engine of the node.

    Raises:
        EngineError: The node's list is incomplete.
    """
    rows = [line.split("\t") for line in run_program(shell_of(engine), "faults").splitlines()]
    if rows[-1:] != [["end"]]:
        raise EngineError(f"the list of faults of node '{engine.name}' is incomplete: try again")
    found = []
    for row in rows[:-1]:
        _, id, folder, line = row
        kind, container, begun = line.split(" ")
        found.append(ListedFault(id, kind, container, begun, engine.name, folder))
    return found


def end_fault(engine: Engine, fault: ListedFault) -> None:
    """End a fault of any run.

    Args:
        engine: Engine of the node.
        fault: The fault.

    Raises:
        FaultError: It could not be ended.
    """
    if run_program(shell_of(engine), "calm", fault.folder, fault.id).strip() != "calm":
        raise FaultError(
            f"fault '{fault.kind}' ({fault.id}) of container '{fault.container}' on node "
            f"'{fault.node}' could not be ended; it is tried again at the end of its run"
        )
