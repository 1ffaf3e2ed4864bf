"""Protocol of a way to reach an engine."""

from __future__ import annotations

from typing import Any

from typing_extensions import Protocol

from lisa_container.engine.sockets import EngineSocket
from lisa_container.errors import EngineNotFoundError

# Sockets of engines, most usual first. Docker: dockerd(8) `-H`; podman: podman-system-service(1).
ROOT_SOCKETS = ["/var/run/docker.sock", "/run/podman/podman.sock"]
USER_SOCKETS = ["/run/user/{uid}/docker.sock", "/run/user/{uid}/podman/podman.sock"]


class Dialer(Protocol):
    """Opener of streams to the engine of one node, safe to use from several threads."""

    name: str
    """Kind of the dialer, for the log: `unix`, `streamlocal`, `relay` or `stdio`."""

    engine_path: str
    """Absolute path of the engine's own socket on the node."""

    as_root: bool
    """Whether only root may open that socket."""

    pool_size: int
    """Number of idle connections that may be kept for later use."""

    def dial(self) -> EngineSocket:
        """Open a new stream to the engine.

        Raises:
            EngineError: the engine, or the connection to it, does not answer.
        """

    def keepalive_target(self) -> Any:
        """Return the open paramiko transport below; None for a local socket."""

    def close(self) -> None:
        """End what the dialer itself keeps running on the node; open streams are not closed."""


def socket_candidates(uid: int) -> list[str]:
    """Return the paths at which an engine may listen for a user.

    Args:
        uid: numeric id of the login user; a rootless engine listens below its runtime directory.
    """
    return ROOT_SOCKETS + ([path.format(uid=uid) for path in USER_SOCKETS] if uid else [])


_ADVICE = (
    "Start it (for Docker: 'systemctl start docker'), or let DockerAdvanced do it: "
    "node.tools[DockerAdvanced]."
)


def no_engine_at(path: str, node: str, reason: str, advice: str = _ADVICE) -> EngineNotFoundError:
    """Return the error for a socket at which no engine answers.

    Args:
        path: path of the socket.
        node: the node's name.
        reason: the cause, from the system.
        advice: what to do next.
    """
    return EngineNotFoundError(
        f"no container engine answers at {path} on {node}: {reason}. {advice}"
    )
