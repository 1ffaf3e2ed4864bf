"""Resources on a node and their leases, for the sweep and for `lisa-container`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from enum import Enum
from typing import Any

from lisa_container.engine.client import Engine
from lisa_container.engine.labels import (
    LEASE_LABEL,
    MARK_LABEL,
    NAME_LABEL,
    OWNER_LABEL,
    RUN_LABEL,
    RUNNER_LABEL,
    SINCE_LABEL,
    TIME_FORMAT,
)
from lisa_container.engine.lease.shell import NodeShell, run_program
from lisa_container.errors import EngineError, ImageNotFoundError
from lisa_container.parsing import parse_time

ROOT = "0"
"""Root's user id, and the default owner of a resource without an owner's label."""

# Prefixes that podman adds to the name of an image.
_PREFIXES = ("", "localhost/", "docker.io/", "docker.io/library/")

# Name that older engines list for an image without a name.
_NO_NAME = "<none>:<none>"

# First year that counts as a time of creation.
_FIRST_YEAR = 1971

# Leases in one request, since a command line has a limited length.
_BATCH = 200


class State(Enum):
    """State of the lease on a resource."""

    ALIVE = "alive"
    """The run lives, as far as the node knows."""
    EXPIRED = "expired"
    """The run has ended, so the resource is to be removed."""
    KEPT = "kept"
    """The resource was kept on purpose (`executor.keep`, `keep_environment`)."""


@dataclass(frozen=True)
class Resource:
    """Container, network, volume or image of a run."""

    what: str
    id: str
    """The engine's id; for a volume, its name."""
    name: str
    lease: str
    run: str
    runner: str
    since: str
    """Begin of the lease, as in the label: usually of the run."""
    owner: str = ROOT
    """User id, on the node, of the lease's owner."""
    names: tuple[str, ...] = ()
    """Names of an image that are removed with the lease."""
    created: str = ""
    """Time of the resource's own creation in ISO 8601, in UTC; empty if the engine does not tell
    it. `since` is the begin of the lease."""
    token: str = ""
    """Token by which the lease lists an image that is being made."""

    @property
    def marks(self) -> tuple[str, ...]:
        """Names of the marks that the resource may have on the node, see `Leases.marks`."""
        made = (f"made.{self.lease}.{item}" for item in (plain_id(self.id), self.token) if item)
        return (f"kept.{self.id}", *(made if self.what == "image" else ()))

    def remove(self, engine: Engine) -> None:
        """Remove the resource.

        Raises:
            EngineError: the engine refused, for example because another user's container uses it.
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
                # Never by force: podman would also remove other users' containers of the image.
                for name in self.names or (self.id,):
                    api.remove_image(name)


@dataclass(frozen=True)
class NodeLease:
    """Lease, read from its folder on the node."""

    id: str
    state: str
    """`alive`, `expired` (its watcher removes resources) or `dead` (not watched, not renewed)."""
    folder: str
    run: str = ""
    runner: str = ""
    since: str = ""
    owner: str = ROOT
    """User id of the folder's owner."""


@dataclass(frozen=True)
class Leases:
    """Leases on a node that its user may trust, and the kept resources."""

    all: Mapping[tuple[str, str], NodeLease] = field(default_factory=dict)
    """Leases by owner and id."""
    marks: frozenset[tuple[str, str]] = frozenset()
    """Pairs of a mark's owner and its name: `kept.<id>` keeps the resource with this id, and
    `made.<lease>.<id or token>` lists an image of the lease."""
    user: str = ROOT
    """User id of the user who read them."""
    is_booting: bool = False
    """Whether the node was booted less than two minutes ago. Until then a living run may take its
    lease up again."""

    @classmethod
    def read(cls, shell: NodeShell, resources: Sequence[Resource]) -> Leases:
        """Read the leases on a node.

        Args:
            shell: shell of the node.
            resources: resources on the node, listed before.

        Raises:
            SshLostError, SudoError, EngineError: the command on the node failed.
        """
        return cls.parse(run_program(shell, "leases")).with_foreign(shell, resources)

    @classmethod
    def parse(cls, output: str) -> Leases:
        """Parse the output of `node.sh leases` or `foreign`.

        Raises:
            EngineError: the output is incomplete, so that a living run may be missing in it.
        """
        rows = [line.split("\t") for line in output.splitlines()]
        if rows[-1:] != [["end"]]:
            raise EngineError("the node's list of leases is incomplete: try again")
        leases = [NodeLease(*row[1:]) for row in rows if row[0] == "lease" and len(row) == 8]
        marks = frozenset((row[1], row[2]) for row in rows if row[0] == "mark" and len(row) == 3)
        facts = {row[0]: row[1] for row in rows if len(row) == 2}
        return cls(
            {(lease.owner, lease.id): lease for lease in leases},
            marks,
            facts.get("me", ROOT),
            ["booted"] in rows,
        )

    def with_foreign(self, shell: NodeShell, resources: Sequence[Resource]) -> Leases:
        """Return these leases and, for root, the leases of other users for their own resources.

        Args:
            shell: shell of the node.
            resources: resources on the node; only the leases of their owners are read.

        Raises:
            SshLostError, SudoError, EngineError: the command on the node failed.
        """
        if self.user != ROOT:
            return self
        leases, marks = dict(self.all), set(self.marks)
        for owner in {item.owner for item in resources} - {ROOT}:
            ids = sorted({item.lease for item in resources if item.owner == owner})
            for start in range(0, len(ids), _BATCH):
                words = ids[start : start + _BATCH]
                more = self.parse(run_program(shell, "foreign", owner, *words))
                leases.update(more.all)
                marks |= more.marks
        return replace(self, all=leases, marks=frozenset(marks))

    def prove(self, resource: Resource) -> bool:
        """Return whether a resource is a run's, which labels alone do not prove for an image.

        A lease lists its images by their ids, and while they are made by their tokens.
        """
        if resource.what != "image" or self._is_hidden(resource):
            return True
        _, *made = resource.marks
        return any((owner, name) in self.marks for owner in _owners(resource) for name in made)

    def state_of(self, resource: Resource) -> State:
        """Return the state of a resource that was listed before these leases were read."""
        if self._is_hidden(resource):
            return State.ALIVE
        owners = _owners(resource)
        if any((owner, f"kept.{resource.id}") in self.marks for owner in owners):
            return State.KEPT
        leases = [self.all.get((owner, resource.lease)) for owner in owners]
        is_alive = any(lease is not None and lease.state == "alive" for lease in leases)
        # Clocks cannot tell whether the run is from before the boot: the runner's may be wrong.
        is_lost = not any(leases) and self.is_booting and bool(resource.since)
        return State.ALIVE if is_alive or is_lost else State.EXPIRED

    @property
    def own_marks(self) -> frozenset[str]:
        """Names of the marks of `user`."""
        return frozenset(name for owner, name in self.marks if owner == self.user)

    def may_use(self, name: str) -> bool:
        """Return whether the lease in the name of a mark may still need the mark."""
        kind, lease, *_ = name.split(".")
        return kind == "made" and (self.is_booting or (self.user, lease) in self.all)

    def _is_hidden(self, resource: Resource) -> bool:
        """Return whether only others, its owner and root, can read the lease of a resource."""
        return self.user not in (ROOT, resource.owner) and resource.owner != ROOT


def list_resources(engine: Engine) -> list[Resource]:
    """List a node's resources that have a lease, in order of removal.

    A label alone is no proof: see the rules in docs/lease.md, which node.sh follows too. Whether an
    image is a run's, `Leases.prove` tells.

    Raises:
        EngineError: the engine refused or does not answer.
    """
    return list(_resources(engine))


def _resources(engine: Engine) -> Iterator[Resource]:
    api = engine.api
    filters = {"label": [LEASE_LABEL]}
    inherited: dict[str, str | None] = {}
    with engine.errors():
        for item in api.containers(all=True, filters=filters):
            image = item["ImageID"]
            if image not in inherited:
                inherited[image] = _mark_of_image(engine, image)
            mark = (item.get("Labels") or {}).get(MARK_LABEL, "")
            if mark and inherited[image] not in (None, mark):
                names = item.get("Names") or [item["Id"][:12]]
                yield _resource("container", item["Id"], names[0].lstrip("/"), item)
        for item in api.networks(filters=filters):
            yield _resource("network", item["Id"], item["Name"], item)
        for item in api.volumes(filters=filters)["Volumes"] or []:
            yield _resource("volume", item["Name"], item["Name"], item)
        for item in api.images(filters=filters):
            labels = item["Labels"]
            names = [x for x in item.get("RepoTags") or [] if x != _NO_NAME]
            known = {prefix + labels.get(NAME_LABEL, "") for prefix in _PREFIXES}
            ours = tuple(x for x in names if x in known)
            # A cached image has an empty label, since it cannot remove a label of its base image.
            if labels[LEASE_LABEL] and (ours or not names):
                name = [*ours, item["Id"][7:19]][0]
                image = _resource("image", item["Id"], name, item)
                yield replace(image, names=ours, token=labels.get(MARK_LABEL, ""))


def _mark_of_image(engine: Engine, image: str) -> str | None:
    """Return the mark that containers inherit from an image; None if the image does not exist."""
    try:
        with engine.errors(image=image):
            config = engine.api.inspect_image(image).get("Config") or {}
    except ImageNotFoundError:
        return None
    return str((config.get("Labels") or {}).get(MARK_LABEL, ""))


def _owners(resource: Resource) -> set[str]:
    """Return the users whose leases and marks count for a resource."""
    return {ROOT, resource.owner}


def plain_id(image: str) -> str:
    """Return an image's id without the name of the digest."""
    return image.rpartition(":")[2]


def _resource(what: str, id: str, name: str, item: dict[str, Any]) -> Resource:
    labels: dict[str, str] = item.get("Labels") or {}
    lease, run, runner, since = (
        labels.get(label, "") for label in (LEASE_LABEL, RUN_LABEL, RUNNER_LABEL, SINCE_LABEL)
    )
    owner = labels.get(OWNER_LABEL) or ROOT
    # A volume has its time under another name than everything else.
    created = _shown_time(item.get("CreatedAt") or item.get("Created"))
    return Resource(what, id, name, lease, run, runner, since, owner, created=created)


def _shown_time(value: Any) -> str:
    seconds = parse_time(value)
    try:
        moment = datetime.fromtimestamp(seconds or 0.0, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return ""
    # An engine writes the year 1 for an unknown time.
    return moment.strftime(TIME_FORMAT) if moment.year >= _FIRST_YEAR else ""
