"""A sudo user's way to the engine's socket: a relay on the node, started under sudo.

The usual LISA user may not open the engine's socket but has sudo. One small process, run as root by
whatever interpreter the node has, listens on a private socket (mode 600, owned by the user) and
passes streams on. sshd opens that socket like any other, so the user gets the same channels as one
in the docker group, at the same speed. The relay ends by itself when no stream was open for a
while, so a runner that was killed leaves nothing.
"""

from __future__ import annotations

import importlib.resources
import threading
from typing import Any

import paramiko
from lisa.util.shell import SshShell

from lisa_container.engine.dial.remote import StreamlocalDialer
from lisa_container.engine.sockets import EngineSocket
from lisa_container.engine.ssh import is_connected, open_command, transport_of
from lisa_container.errors import EngineError, EngineNotFoundError, SshLostError

# Seconds without an open stream after which the relay ends.
IDLE_SECONDS = 60

# Interpreter on the node -> the relay's program for it, in this package.
_PROGRAMS = {"python3": "relay.py.txt", "perl": "relay.pl.txt"}


class RelayDialer:
    """Reaches a root-only engine socket through a relay started under sudo.

    Args:
        shell: LISA's shell to the node.
        path: absolute path of the engine's socket.
        uid: numeric id of the login user, who will own the relay's socket.
        password: the user's password, where sudo asks for one.

    Raises:
        EngineError: no interpreter for the relay is on the node, or it did not start.
    """

    name = "relay"
    pool_size = 10

    def __init__(self, shell: SshShell, path: str, uid: int, password: str | None) -> None:
        self.path = path
        self._shell = shell
        self._uid = uid
        self._password = password
        self._lock = threading.Lock()
        self._inner = self._start()

    def dial(self) -> EngineSocket:
        """See `Dialer.dial`."""
        inner = self._inner
        try:
            return inner.dial()
        except EngineNotFoundError:
            with self._lock:
                if inner is self._inner:  # it had been idle and ended
                    self._inner = self._start()
            return self._inner.dial()

    def keepalive_target(self) -> Any:
        """The transport of LISA's connection, if it is open."""
        return self._inner.keepalive_target()

    def close(self) -> None:
        """Ask the relay to end now. Left alone, it ends when idle."""
        if not is_connected(self._shell):
            return
        try:
            stream = self._inner.dial()
            stream.sendall(b"LISA-RELAY-END\n")
            stream.close()
        except EngineError:
            pass  # it had ended already

    def _start(self) -> StreamlocalDialer:
        transport = transport_of(self._shell)
        reasons = []
        for interpreter, resource in _PROGRAMS.items():
            program = _read(resource)
            try:
                answer = self._run(transport, interpreter, program)
            except (paramiko.SSHException, EOFError, OSError) as error:
                raise SshLostError(self._shell.connection_info.address, error) from error
            if answer.startswith("listening "):
                return StreamlocalDialer(self._shell, answer.split(" ", 1)[1])
            if answer.startswith("no engine "):
                raise EngineNotFoundError(
                    f"no container engine answers at {self.path} on the node: "
                    f"{answer[len('no engine ') :]}. Start it (for Docker: 'systemctl start docker')."
                )
            reasons.append(f"{interpreter}: {answer or 'not on the node'}")
        raise EngineError(f"the relay to {self.path} did not start ({'; '.join(reasons)})")

    def _run(self, transport: paramiko.Transport, interpreter: str, program: str) -> str:
        command = f"exec {interpreter} - {self.path} {self._uid} {IDLE_SECONDS}"
        channel = open_command(transport, command, sudo=True, password=self._password)
        with channel:
            channel.settimeout(20)
            channel.sendall(program.encode())
            channel.shutdown_write()
            answer = b""
            while not answer.endswith(b"\n"):
                data = channel.recv(4096)
                if not data:
                    break
                answer += data
        return answer.decode(errors="replace").strip()


def _read(resource: str) -> str:
    package = importlib.resources.files(__package__)
    return package.joinpath(resource).read_text(encoding="utf-8")
