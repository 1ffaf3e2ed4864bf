"""Dialer for a local node: the engine's unix socket, or a relay under sudo."""

from __future__ import annotations

import os
import socket
from typing import Callable

from lisa_container.engine.dial.base import Dialer, no_engine_at, socket_candidates
from lisa_container.engine.dial.relay import relay_here
from lisa_container.engine.dial.unix import UnixDialer
from lisa_container.engine.found import describe, describe_inside, engines_here
from lisa_container.errors import EngineNotFoundError

_SCHEME = "unix://"

ONLY_IF_ASKED = (
    "On the runner's own machine lisa_container starts and installs an engine only if asked: "
    "'lisa-container plan run --start-engine', or 'start_engine: true' of the notifier "
    "container_settings in a runbook."
)

_ADVICE = f"Start it (for Docker: 'systemctl start docker'). {ONLY_IF_ASKED}"


def choose_local(lease: Callable[[], str] = str) -> Dialer:
    """Return a dialer for the engine of this machine.

    `DOCKER_HOST=unix://…` names another socket, as it does for the docker command.

    Args:
        lease: returns the id of the lease that a relay ends with.

    Raises:
        EngineNotFoundError: no engine listens, or DOCKER_HOST is not a unix socket.
        SudoError: neither this user nor sudo without a password can open the socket.
    """
    paths = _paths()
    denied = []
    reason = ""
    for path in paths:
        try:
            UnixDialer(path).dial().close()
            return UnixDialer(path)
        except EngineNotFoundError as error:
            reason = reason or str(error.__cause__)
            if isinstance(error.__cause__, PermissionError):
                denied.append(path)
    for path in denied:
        try:
            return relay_here(path, lease=lease)
        except EngineNotFoundError as error:
            reason = str(error)
    host = f"this machine, '{socket.gethostname()}'"
    advice = f"{describe(engines_here()) or _ADVICE} {describe_inside()}".rstrip()
    raise no_engine_at(" or ".join(paths), host, reason, advice)


def _paths() -> list[str]:
    host = os.environ.get("DOCKER_HOST", "")
    if not host:
        return socket_candidates(os.getuid())
    if not host.startswith(_SCHEME):
        raise EngineNotFoundError(
            f"DOCKER_HOST is '{host}', but a local node is only reached through a unix socket. "
            "Unset it or give 'unix:///path/to.sock'; for another machine use a remote node."
        )
    return [host[len(_SCHEME) :]]
