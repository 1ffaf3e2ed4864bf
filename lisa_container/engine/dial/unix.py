"""A unix socket of this very machine."""

from __future__ import annotations

import socket
from typing import Any

from lisa_container.engine.dial.base import no_engine_at
from lisa_container.engine.sockets import EngineSocket


class UnixDialer:
    """Connects to a unix socket of this machine.

    Args:
        path: absolute path of the socket.
    """

    name = "unix"
    pool_size = 10
    as_root = False

    def __init__(self, path: str) -> None:
        self.path = self.engine_path = path

    def dial(self) -> EngineSocket:
        """See `Dialer.dial`."""
        host = socket.gethostname()
        endpoint = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            endpoint.connect(self.path)
        except OSError as error:
            endpoint.close()
            raise no_engine_at(self.path, host, error.strerror or str(error)) from error
        return EngineSocket(endpoint, host)

    def keepalive_target(self) -> Any:
        """None: a local socket needs no keepalive."""
        return None

    def close(self) -> None:
        """Nothing to give back."""
