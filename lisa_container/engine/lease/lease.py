"""The lease of a run on a node: what the run made there goes when it is not renewed.

A tiny watcher in POSIX sh (`node.sh`), without an image, a daemon or an open port, starts on the
node before the first thing is made there. This process renews the lease through the node's SSH
connection; where nothing is heard of it for the TTL, because it was killed or the network is cut,
the watcher removes what carries the lease, by the engine's own command line, and ends.
"""

from __future__ import annotations

import getpass
import os
import socket
import threading
import weakref
from datetime import datetime, timezone

from lisa.node import Node

from lisa_container.engine.client import Engine
from lisa_container.engine.labels import (
    LEASE_LABEL,
    RUN_LABEL,
    RUNNER_LABEL,
    SINCE_LABEL,
    run_id,
)
from lisa_container.engine.lease.renewal import Renewal
from lisa_container.engine.lease.report import Leases, list_resources
from lisa_container.engine.lease.shell import run_program, shell_of
from lisa_container.engine.lease.sweep import sweep_at_first_contact
from lisa_container.engine.lease.tag import forget_id, lease_id
from lisa_container.errors import ConfigError, EngineError, SshLostError

TTL_VARIABLE = "LISA_CONTAINER_LEASE_TTL"
"""The environment variable of the runner that says how long (seconds) a lease lasts without being
renewed; 60 by default, 2 at the least."""

_TTL = 60
_LEAST_TTL = 2

_SLOT = "_lisa_container_lease"
_slots_lock = threading.Lock()


class Lease:
    """The lease of this run on one node. Use `Lease.of(engine)`.

    Args:
        engine: of the node.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._renewal: Renewal | None = None
        self._is_refused = False
        self._had_expired = False
        self._since = ""

    @classmethod
    def of(cls, engine: Engine) -> Lease:
        """The lease on an engine's node: one for all engine objects of the node."""
        with _slots_lock:
            lease: Lease = vars(engine.node).setdefault(_SLOT, cls(engine))
        lease._engine = engine
        return lease

    @classmethod
    def found(cls, node: Node) -> Lease | None:
        """The lease on a node, if there ever was one. Asks nobody."""
        return vars(node).get(_SLOT)

    @property
    def id(self) -> str:
        """16 hex digits."""
        return lease_id(self._engine.node)

    def labels(self) -> dict[str, str]:
        """The labels for a container, network or volume about to be made, or for an image that is
        not to stay. From the first call on the lease is in force.

        Raises:
            ConfigError: LISA_CONTAINER_LEASE_TTL is wrong.
            SshLostError: the node cannot be reached.
            SudoError: sudo refused.
        """
        with self._lock:
            if not self._is_in_force():
                self._arm()
            labels = {RUN_LABEL: run_id(), RUNNER_LABEL: _runner(), SINCE_LABEL: self._since}
            return labels if self._is_refused else {**labels, LEASE_LABEL: self.id}

    def file(self, path: str) -> None:
        """Have a file or folder of the node go with the lease.

        Args:
            path: absolute, on the node; at least two levels deep. With a slash behind it is a
                folder that goes only when it is empty by then.
        """
        if not path.startswith("/") or len([part for part in path.split("/") if part]) < 2:
            raise ConfigError(f"lease: given file '{path}'; legal: an absolute path like '/run/x'")
        self.labels()
        if self._renewal is not None:
            run_program(self._renewal.shell, "file", self._renewal.folder, path)

    def keep(self, container: str) -> None:
        """Except a container from all removal, with the image, volumes and networks that it needs.

        Args:
            container: name or id. That it cannot be done is logged.
        """
        renewal = self._renewal
        if renewal is None:
            return
        try:
            self._keep(renewal, container)
        except EngineError as error:
            self._engine.node.log.warning(f"'{container}' is not kept when this run ends: {error}")

    def why_gone(self) -> str:
        """Why something of this run is not there any more, as far as the lease is the cause; empty
        where it is not."""
        renewal = self._renewal
        try:
            expired = self._had_expired or (renewal is not None and renewal.has_expired)
        except EngineError:
            expired = False
        if not expired:
            return ""
        return (
            f"its lease expired: for {_ttl()} seconds ({TTL_VARIABLE}) the node heard nothing of "
            "this run, and removed all that it had made"
        )

    def release(self) -> None:
        """End the lease: what is still there of it, and not kept, goes. A later use of the node
        makes another one."""
        with self._lock:
            renewal, self._renewal = self._renewal, None
            if renewal is not None:
                renewal.end()
                forget_id(self._engine.node)

    def _keep(self, renewal: Renewal, container: str) -> None:
        with self._engine.errors(container):
            found = self._engine.api.inspect_container(container)
        networks = (found["NetworkSettings"].get("Networks") or {}).values()
        needed = {
            found["Id"],
            found["Image"],
            *(mount.get("Name", "") for mount in found.get("Mounts") or []),
            *(network.get("NetworkID", "") for network in networks),
        }
        ours = [item.id for item in list_resources(self._engine) if item.id in needed]
        run_program(renewal.shell, "keep", *ours)

    def _is_in_force(self) -> bool:
        if self._is_refused:
            return True
        renewal = self._renewal
        if renewal is None:
            return False
        if renewal.is_over or (renewal.is_doubtful and renewal.has_expired):
            self._renewal, self._had_expired = None, True
            renewal.end(is_reachable=True)  # else what needs the lease fails in a moment as well
            forget_id(self._engine.node)
            return False
        return True

    def _arm(self) -> None:
        engine = self._engine
        shell = shell_of(engine)
        ttl = _ttl()
        self._since = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        words = [str(ttl), engine.kind, engine.dialer.engine_path, run_id(), _runner(), self._since]
        try:
            said = run_program(shell, "arm", self.id, *(" ".join(word.split()) for word in words))
        except SshLostError:
            raise
        except EngineError as error:
            said = str(error)
        first, _, rest = said.partition("\n")
        if not first.startswith("armed\t"):
            self._is_refused = True
            engine.note_once(
                f"no lease on node '{engine.name}' ({said.strip() or 'its shell said nothing'}): "
                "what is made there stays if this process is killed"
            )
            return
        _, client, folder = first.split("\t")
        if client == "none":
            engine.note_once(
                f"node '{engine.name}' has neither the docker nor the podman command, nor curl: "
                "what is made there stays if this process is killed, until the next run's sweep"
            )
        self._renewal = Renewal(shell, folder, self.id, ttl, engine.node.log)
        weakref.finalize(engine.node, self._renewal.abandon).atexit = False
        sweep_at_first_contact(engine, Leases.parse(rest))


def _ttl() -> int:
    given = os.environ.get(TTL_VARIABLE, "") or str(_TTL)
    if not given.isascii() or not given.isdigit() or int(given) < _LEAST_TTL:
        raise ConfigError(
            f"{TTL_VARIABLE}: given '{given}'; legal: whole seconds, {_LEAST_TTL} at the least"
        )
    return int(given)


def _runner() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # an id without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}:{os.getpid()}"
