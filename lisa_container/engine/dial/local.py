"""A local node: the engine's own unix socket, or dial-stdio under sudo."""

from __future__ import annotations

import os
import socket
import subprocess
from typing import Any

from lisa_container.engine.dial.base import Dialer, socket_candidates
from lisa_container.engine.sockets import EngineSocket
from lisa_container.errors import EngineNotFoundError, SudoError


class UnixDialer:
    """Connects to a unix socket of this machine.

    Args:
        path: absolute path of the socket.
    """

    name = "unix"
    pool_size = 10

    def __init__(self, path: str) -> None:
        self.path = path

    def dial(self) -> EngineSocket:
        """See `Dialer.dial`."""
        endpoint = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            endpoint.connect(self.path)
        except OSError as error:
            endpoint.close()
            raise EngineNotFoundError(
                f"no container engine answers at {self.path}: {error.strerror}. Start it "
                "(for Docker: 'systemctl start docker')."
            ) from error
        return EngineSocket(endpoint)

    def keepalive_target(self) -> Any:
        """None: a local socket needs no keepalive."""
        return None

    def close(self) -> None:
        """Nothing to give back."""


class LocalStdioDialer:
    """Reaches a socket this user may not open, through `docker system dial-stdio` under sudo.

    Args:
        path: absolute path of the engine's socket.
    """

    name = "stdio"
    pool_size = 2

    def __init__(self, path: str) -> None:
        self.path = path

    def dial(self) -> EngineSocket:
        """See `Dialer.dial`."""
        ours, theirs = socket.socketpair()
        with theirs:
            # -n: never ask on the terminal of the person who started LISA.
            subprocess.Popen(
                ["sudo", "-n", "docker", "-H", f"unix://{self.path}", "system", "dial-stdio"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        return EngineSocket(ours)

    def keepalive_target(self) -> Any:
        """None: a local process needs no keepalive."""
        return None

    def close(self) -> None:
        """Nothing to give back: each process ends with its stream."""


def choose_local() -> Dialer:
    """The way to the engine of this machine.

    `DOCKER_HOST=unix://…` names another socket, as it does for the docker command.

    Raises:
        EngineNotFoundError: nothing listens, or DOCKER_HOST is no unix socket.
        SudoError: a socket is there, but neither this user nor sudo without a password opens it.
    """
    host = os.environ.get("DOCKER_HOST", "")
    if host and not host.startswith("unix://"):
        raise EngineNotFoundError(
            f"DOCKER_HOST is '{host}'; a local node is reached through a unix socket only. Unset it "
            "or give 'unix:///path/to.sock'; for another machine use a remote node in the runbook."
        )
    paths: list[str] = (
        [host[len("unix://") :]] if host else socket_candidates(os.getuid())  # as root: no user's
    )
    denied = ""
    for path in paths:
        try:
            UnixDialer(path).dial().close()
            return UnixDialer(path)
        except EngineNotFoundError as error:
            if isinstance(error.__cause__, PermissionError):
                denied = denied or path
    if not denied:
        raise EngineNotFoundError(
            f"no container engine answers on this machine (tried {', '.join(paths)})."
        )
    check = subprocess.run(["sudo", "-n", "true"], capture_output=True, text=True, check=False)
    if check.returncode != 0:
        raise SudoError(f"{denied} may not be opened by this user, and {check.stderr.strip()}")
    return LocalStdioDialer(denied)
