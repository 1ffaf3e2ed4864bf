"""What is on a node by whose lease: for the sweep and for `lisa-container`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from lisa_container.engine.client import Engine
from lisa_container.engine.labels import LEASE_LABEL, RUN_LABEL, RUNNER_LABEL, SINCE_LABEL
from lisa_container.engine.lease.shell import NodeShell, run_program


class State(Enum):
    """How it stands with a thing."""

    ALIVE = "alive"
    """Its run lives, as far as the node can tell."""
    EXPIRED = "expired"
    """Its run does not, and it is to go."""
    KEPT = "kept"
    """It is there on purpose (`executor.keep`, `keep_environment`)."""


@dataclass(frozen=True)
class Resource:
    """A container, network, volume or image of a run."""

    what: str
    id: str
    """The engine's id; of a volume its name."""
    name: str
    lease: str
    run: str
    runner: str
    since: str

    def remove(self, engine: Engine) -> None:
        """Remove it.

        Raises:
            EngineError: the engine refused, say for somebody else uses it.
        """
        api = engine.api
        with engine.errors(self.id if self.what == "container" else ""):
            if self.what == "container":
                api.remove_container(self.id, v=True, force=True)
            elif self.what == "network":
                api.remove_network(self.id)
            elif self.what == "volume":
                api.remove_volume(self.id)
            else:
                api.remove_image(self.id, force=bool(self.lease))


@dataclass(frozen=True)
class NodeLease:
    """A lease as its folder on the node tells of it."""

    id: str
    state: str
    """`alive`, `expired` (its watcher is removing) or `dead` (its watcher is gone)."""
    folder: str
    run: str = ""
    runner: str = ""
    since: str = ""


@dataclass(frozen=True)
class Leases:
    """All leases of a node, by id, and the ids of what is kept."""

    all: Mapping[str, NodeLease] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()

    @classmethod
    def read(cls, shell: NodeShell) -> Leases:
        """Ask a node.

        Raises:
            SshLostError, SudoError, EngineError: it could not be asked.
        """
        return cls.parse(run_program(shell, "leases"))

    @classmethod
    def parse(cls, said: str) -> Leases:
        """From what `node.sh leases` printed."""
        rows = [line.split("\t") for line in said.splitlines()]
        leases = [NodeLease(*row[1:]) for row in rows if row[0] == "lease" and len(row) == 7]
        kept = frozenset(row[1] for row in rows if row[0] == "kept" and len(row) == 2)
        return cls({lease.id: lease for lease in leases}, kept)

    def state_of(self, resource: Resource) -> State:
        """How it stands with a resource that was listed before these leases were read."""
        if resource.id in self.kept:
            return State.KEPT
        lease = self.all.get(resource.lease)
        return State.ALIVE if lease is not None and lease.state == "alive" else State.EXPIRED


def list_resources(engine: Engine) -> list[Resource]:
    """All on a node that carries a lease, in an order in which it can be removed, and images of the
    cache that have lost their name.

    Raises:
        EngineError: the engine refused or does not answer.
    """
    return list(_resources(engine))


def _resources(engine: Engine) -> Iterator[Resource]:
    api = engine.api
    filters = {"label": [LEASE_LABEL]}
    with engine.errors():
        for found in api.containers(all=True, filters=filters):
            names = found.get("Names") or [found["Id"][:12]]
            yield _resource("container", found["Id"], names[0].lstrip("/"), found)
        for found in api.networks(filters=filters):
            yield _resource("network", found["Id"], found["Name"], found)
        for found in api.volumes(filters=filters)["Volumes"] or []:
            yield _resource("volume", found["Name"], found["Name"], found)
        for found in api.images(filters=filters):
            names = found.get("RepoTags") or [found["Id"][7:19]]
            # An image made of a container inherits its labels; where it is a cache, they were
            # emptied.
            if found["Labels"][LEASE_LABEL]:
                yield _resource("image", found["Id"], names[0], found)
        # Two runs that made an image of the cache at once: the name is with the later one.
        for found in api.images(filters={"label": [RUN_LABEL], "dangling": True}):
            if not (found.get("Labels") or {}).get(LEASE_LABEL):
                yield _resource("image", found["Id"], found["Id"][7:19], found)


def _resource(what: str, id: str, name: str, found: dict[str, Any]) -> Resource:
    labels: dict[str, str] = found.get("Labels") or {}
    lease, run, runner, since = (
        labels.get(label, "") for label in (LEASE_LABEL, RUN_LABEL, RUNNER_LABEL, SINCE_LABEL)
    )
    return Resource(what, id, name, lease, run, runner, since)
