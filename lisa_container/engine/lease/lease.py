"""Lease of a run on a node: if it is not renewed, all that the run made there is removed.

A small watcher in POSIX sh (`node.sh`), without an image, a daemon or an open port, starts on the
node before the first resource is made there. This process renews the lease through the node's SSH
connection. If no renewal comes for the TTL, because this process was killed or the network is cut,
the watcher removes the lease's resources with the engine's command line, and ends.
"""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import threading
import weakref
from collections.abc import Mapping
from datetime import datetime, timezone

from lisa.node import Node

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
    run_id,
)
from lisa_container.engine.lease.order import Order
from lisa_container.engine.lease.renewal import Renewal
from lisa_container.engine.lease.report import list_resources, plain_id
from lisa_container.engine.lease.shell import run_program, shell_of
from lisa_container.engine.lease.sweep import sweep_at_first_contact
from lisa_container.engine.lease_id import forget_id, lease_id
from lisa_container.errors import ConfigError, EngineError, ImageNotFoundError, SshLostError
from lisa_container.escaping import printable
from lisa_container.forks import Owner
from lisa_container.masking import Plain

TTL_VARIABLE = "LISA_CONTAINER_LEASE_TTL"
"""Environment variable of the runner: seconds that a lease lasts without renewal; 60 by default, at
least 2."""

_TTL = 60
_LEAST_TTL = 2

_SLOT = "_lisa_container_lease"
_slots_lock = threading.Lock()


class Lease:
    """Lease of this run on one node. Use `Lease.of(engine)`."""

    def __init__(self, engine: Engine) -> None:
        """Prepare a lease; the first call of `labels` makes it on the node."""
        self._engine = engine
        self._lock = threading.Lock()
        self._renewal: Renewal | None = None
        self._is_refused = False
        self._had_expired = False
        self._process = Owner()
        self._since = ""
        self._owner = ""
        self._listed: set[str] = set()

    @classmethod
    def of(cls, engine: Engine) -> Lease:
        """Return the lease on an engine's node, which all engine objects of the node share."""
        with _slots_lock:
            lease = cls.existing(engine.node)
            if lease is None:
                lease = vars(engine.node)[_SLOT] = cls(engine)
        lease._engine = engine
        return lease

    @classmethod
    def existing(cls, node: Node) -> Lease | None:
        """Return this process's lease on a node, if it made one, without contacting the node."""
        lease: Lease | None = vars(node).get(_SLOT)
        if lease is not None and lease._process.is_parent:
            vars(node).pop(_SLOT)
            forget_id(node)
            return None
        return lease

    @property
    def id(self) -> str:
        """Id of the lease, 16 hex digits."""
        return lease_id(self._engine.node)

    def labels(self) -> dict[str, str]:
        """Return the labels for a network or volume that is about to be made.

        The first call makes the lease on the node.

        Raises:
            ConfigError: LISA_CONTAINER_LEASE_TTL is not legal.
            SshLostError: the node cannot be reached.
            SudoError: sudo refused.
        """
        with self._lock:
            if not self._is_in_force():
                self._arm()
            labels = {RUN_LABEL: run_id(), RUNNER_LABEL: _runner(), SINCE_LABEL: self._since}
            if self._is_refused:
                return labels
            return {**labels, LEASE_LABEL: self.id, OWNER_LABEL: self._owner}

    def container_labels(self) -> dict[str, str]:
        """Return the labels for one container that is about to be made; see `labels` for errors."""
        return {**self.labels(), MARK_LABEL: secrets.token_hex(8)}

    def image_labels(self, name: str = "") -> dict[str, str]:
        """Return the labels for an image that ends with the run; see `labels` for errors.

        An image inherits the labels of its base, so they prove nothing: the lease lists its images.
        Call `list_image` when the image is made.

        Args:
            name: the image's full name; empty for a part of an image, which never gets a name.
        """
        labels = self.labels()
        lease = labels.get(LEASE_LABEL, "")
        token = secrets.token_hex(8) if name else lease
        if lease and token not in self._listed:
            self._list("making", lease, token)
        return {**labels, MARK_LABEL: token, NAME_LABEL: name}

    def list_image(self, labels: Mapping[str, str]) -> str:
        """List a new image as this run's, so that it is removed with the lease; return its id.

        Args:
            labels: the image's labels, from `image_labels`.

        Raises:
            ImageNotFoundError: the engine has no image with these labels.
            EngineError: the engine or the node does not answer.
        """
        token = labels[MARK_LABEL]
        with self._engine.errors():
            found = self._engine.api.images(filters={"label": [f"{MARK_LABEL}={token}"]})
        if not found:
            raise ImageNotFoundError(labels[NAME_LABEL], self._engine.name, "it was just removed")
        id = str(found[0]["Id"])
        if LEASE_LABEL in labels:
            self._list("made", labels[LEASE_LABEL], plain_id(id), token)
        return id

    def lists(self, image: str) -> bool:
        """Return whether this run has made an image.

        Args:
            image: the engine's id of the image.
        """
        return plain_id(image) in self._listed

    def file(self, path: str) -> None:
        """Remove a file or folder of the node with the lease.

        Args:
            path: absolute path on the node, at least two levels deep. With a slash at the end, it
                is a folder that is removed only if it is empty.
        """
        if not path.startswith("/") or len([part for part in path.split("/") if part]) < 2:
            raise ConfigError(f"lease: given file '{path}'; legal: an absolute path like '/run/x'")
        self.labels()
        if self._renewal is not None:
            self._renewal.file(path)

    def folder(self, parent: str) -> str:
        """Make a folder on the node that only the lease's user may enter and that ends with it.

        Args:
            parent: absolute path of an existing folder on the node.

        Returns:
            The new folder's absolute path.

        Raises:
            EngineError: the folder could not be made, or the node has no lease.
        """
        self.labels()
        made = self._renewal and self._renewal.make_folder(parent)
        if not made:
            raise EngineError(
                f"no folder for this run could be made in '{parent}' of node "
                f"'{self._engine.name}': check that the log reports no missing lease there, and "
                "that the disk has room"
            )
        return made

    def store_fault(self, name: str, description: str, undo: str) -> None:
        """Store the script that ends a fault, before the fault begins.

        The script runs when the lease ends at the latest: also after a kill of this process.

        Args:
            name: name of the fault: letters, digits, `.`, `_`, `-`.
            description: one line for lists of faults.
            undo: script of the node's sh. It may run more than once, and succeeds when the fault is
                gone.

        Raises:
            EngineError: the node has no lease, or could not store the script.
        """
        self.labels()
        if self._renewal is None or not self._renewal.store_fault(name, f"# {description}\n{undo}"):
            raise EngineError(
                f"the end of fault '{name}' could not be stored on node '{self._engine.name}', so "
                "the fault was not begun: check that the log reports no missing lease there, and "
                "that the disk has room"
            )

    def end_fault(self, name: str) -> None:
        """End a fault by its script, and forget that. Do nothing if the lease has ended.

        Raises:
            EngineError: the script failed. It runs again at the end of the lease.
        """
        if self._renewal is not None and not self._renewal.end_fault(name):
            raise EngineError(
                f"fault '{name}' on node '{self._engine.name}' could not be ended; it is tried "
                "again at the end of the run"
            )

    def keep(self, container: str) -> None:
        """Exclude a container from all removal, with its image, volumes and networks.

        A failure is logged.

        Args:
            container: name or id.
        """
        renewal = self._renewal
        if renewal is None:
            return
        try:
            self._keep(renewal, container)
        except EngineError as error:
            self._engine.node.log.warning(
                Plain(f"'{container}' is not kept when this run ends: {printable(error)}")
            )

    def why_gone(self) -> str:
        """Return the explanation that the lease expired; empty if it did not expire."""
        renewal = self._renewal
        try:
            expired = self._had_expired or (renewal is not None and renewal.has_expired)
        except EngineError:
            expired = False
        if not expired:
            return ""
        return (
            f"its lease expired: for {_ttl()} seconds ({TTL_VARIABLE}) the node got no renewal "
            "from this run, so it removed all that the run had made"
        )

    def release(self) -> None:
        """End the lease and remove its resources, except kept ones.

        The next use of the node makes a new lease.
        """
        with self._lock:
            renewal, self._renewal = self._renewal, None
            if renewal is not None:
                renewal.end()
                forget_id(self._engine.node)

    def _list(self, verb: str, lease: str, item: str, *token: str) -> None:
        run_program(shell_of(self._engine), verb, lease, item, *token)
        self._listed.add(item)

    def _keep(self, renewal: Renewal, container: str) -> None:
        with self._engine.errors(container):
            details = self._engine.api.inspect_container(container)
        networks = (details["NetworkSettings"].get("Networks") or {}).values()
        needed = {
            details["Id"],
            details["Image"],
            *(mount.get("Name", "") for mount in details.get("Mounts") or []),
            *(network.get("NetworkID", "") for network in networks),
        }
        ours = [item.id for item in list_resources(self._engine) if item.id in needed]
        if ours:
            run_program(renewal.shell, "keep", *ours)

    def _is_in_force(self) -> bool:
        if self._is_refused:
            return True
        renewal = self._renewal
        if renewal is None:
            return False
        if renewal.is_over or (renewal.is_doubtful and renewal.has_expired):
            self._renewal, self._had_expired = None, True
            renewal.end(is_reachable=True)  # the caller is about to use the node anyway
            forget_id(self._engine.node)
            return False
        return True

    def _arm(self) -> None:
        engine = self._engine
        shell = shell_of(engine)
        ttl = _ttl()
        self._since = datetime.now(timezone.utc).strftime(TIME_FORMAT)
        path, run = engine.dialer.engine_path, run_id()
        order = Order(self.id, ttl, engine.kind, path, run, _runner(), self._since)
        try:
            armed = order.arm(shell)
        except SshLostError:
            raise
        except EngineError as error:
            self._is_refused = True
            engine.note_once(
                f"no lease on node '{engine.name}' ({error}): what is made there stays if this "
                "process is killed"
            )
            return
        self._owner = armed.owner
        if armed.client == "none":
            engine.note_once(
                f"node '{engine.name}' has none of the commands docker, podman and curl: "
                "what is made there stays if this process is killed, until the next run's sweep"
            )
        self._renewal = Renewal(shell, order, armed, engine.node.log)
        weakref.finalize(engine.node, self._renewal.abandon).atexit = False
        sweep_at_first_contact(engine, armed.leases)


def _ttl() -> int:
    given = os.environ.get(TTL_VARIABLE, "") or str(_TTL)
    if not given.isascii() or not given.isdigit() or int(given) < _LEAST_TTL:
        raise ConfigError(
            f"{TTL_VARIABLE}: given '{given}'; legal: whole seconds, at least {_LEAST_TTL}"
        )
    return int(given)


def _runner() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}:{os.getpid()}"
