"""Dialer for a unix socket of this machine."""

from __future__ import annotations

import socket
from typing import Any

from lisa_container.engine.dial.base import no_engine_at
from lisa_container.engine.sockets import EngineSocket


class UnixDialer:
    """Dialer that connects to a unix socket of this machine.

    Args:
        path: absolute path of the socket.
    """

    name = "unix"
    pool_size = 10
    as_root = False

    def __init__(self, path: str) -> None:
        """Keep the path; `dial` connects."""
        self.path = self.engine_path = path

    def dial(self) -> EngineSocket:
        """See `Dialer.dial`."""
        host = socket.gethostname()
        endpoint = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            endpoint.connect(self.path)
        except OSError as error:
            endpoint.close()
            advice = "Start it (for Docker: 'systemctl start docker')."
            raise no_engine_at(self.path, host, error.strerror or str(error), advice) from error
        return EngineSocket(endpoint, host)

    def keepalive_target(self) -> Any:
        """Return None, since a local socket needs no keepalive."""
        return None

    def close(self) -> None:
        """Do nothing: a local socket keeps nothing on the node."""
