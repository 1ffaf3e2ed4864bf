"""What every way to reach an engine offers."""

from __future__ import annotations

from typing import Any

from typing_extensions import Protocol

from lisa_container.engine.sockets import EngineSocket
from lisa_container.errors import EngineNotFoundError

# Where engines listen, most usual first. Docker: dockerd(8) `-H`; podman: podman-system-service(1).
ROOT_SOCKETS = ["/var/run/docker.sock", "/run/podman/podman.sock"]
USER_SOCKETS = ["/run/user/{uid}/docker.sock", "/run/user/{uid}/podman/podman.sock"]


class Dialer(Protocol):
    """Opens streams to the engine of one node. Safe to use from several threads."""

    name: str
    """How it works, for the log: `unix`, `streamlocal`, `relay` or `stdio`."""

    engine_path: str
    """Absolute path of the engine's own socket on the node."""

    as_root: bool
    """Whether it takes root to open that socket."""

    pool_size: int
    """How many idle connections may be kept for later use."""

    def dial(self) -> EngineSocket:
        """A new stream to the engine.

        Raises:
            EngineError: the engine (or the way to it) does not answer.
        """

    def keepalive_target(self) -> Any:
        """The paramiko transport below, or None for a local socket."""

    def close(self) -> None:
        """Give back what the way itself holds on the node. Streams end on their own."""


def socket_candidates(uid: int) -> list[str]:
    """The paths at which an engine may listen for this user.

    Args:
        uid: numeric id of the login user; a rootless engine listens below its runtime directory.
    """
    return ROOT_SOCKETS + ([path.format(uid=uid) for path in USER_SOCKETS] if uid else [])


def no_engine_at(path: str, node: str, said: str) -> EngineNotFoundError:
    """The error for a socket behind which nobody answers.

    Args:
        path: of the socket.
        node: what to call the node.
        said: the cause, as the system gave it.
    """
    return EngineNotFoundError(
        f"no container engine answers at {path} on {node}: {said}. Start it (for Docker: "
        "'systemctl start docker'), or let DockerAdvanced do it: node.tools[DockerAdvanced]."
    )
