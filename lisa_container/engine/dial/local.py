"""A local node: the engine's own unix socket, or a relay under sudo."""

from __future__ import annotations

import os
import socket
from typing import Callable

from lisa_container.engine.dial.base import Dialer, no_engine_at, socket_candidates
from lisa_container.engine.dial.relay import relay_here
from lisa_container.engine.dial.unix import UnixDialer
from lisa_container.errors import EngineNotFoundError

_SCHEME = "unix://"


def choose_local(lease: Callable[[], str] = str) -> Dialer:
    """The way to the engine of this machine.

    `DOCKER_HOST=unix://…` names another socket, as it does for the docker command.

    Args:
        lease: gives the id of the lease that a relay ends with.

    Raises:
        EngineNotFoundError: nothing listens, or DOCKER_HOST is no unix socket.
        SudoError: a socket is there, but neither this user nor sudo without a password opens it.
    """
    paths = _paths()
    denied = []
    said = ""
    for path in paths:
        try:
            UnixDialer(path).dial().close()
            return UnixDialer(path)
        except EngineNotFoundError as error:
            said = said or str(error.__cause__)
            if isinstance(error.__cause__, PermissionError):
                denied.append(path)
    for path in denied:
        try:
            return relay_here(path, lease=lease)
        except EngineNotFoundError as error:
            said = str(error)
    raise no_engine_at(" or ".join(paths), f"this machine, '{socket.gethostname()}'", said)


def _paths() -> list[str]:
    host = os.environ.get("DOCKER_HOST", "")
    if not host:
        return socket_candidates(os.getuid())
    if not host.startswith(_SCHEME):
        raise EngineNotFoundError(
            f"DOCKER_HOST is '{host}'; a local node is reached through a unix socket only. Unset "
            "it or give 'unix:///path/to.sock'; for another machine use a remote node."
        )
    return [host[len(_SCHEME) :]]
