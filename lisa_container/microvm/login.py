"""Logins to guests over SSH, and scripts there for guests that have no agent of ours."""

from __future__ import annotations

import base64
import logging
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import paramiko
from typing_extensions import Self

from lisa_container.container.limited_output import LimitedOutput
from lisa_container.engine.ssh import CHANNEL_TIMEOUT, tune_tcp
from lisa_container.errors import SshLostError, VmError
from lisa_container.escaping import quote_output
from lisa_container.microvm.machine.command_line import HOST_ADDRESS

# Seconds for each step of a login; without KVM a busy machine may need several.
_STEP_SECONDS = 60.0
_REST_SECONDS = 1.0
_POLL_SECONDS = 0.05
_CHUNK = 1 << 16
_LOG_BYTES = 1000
# Logger of paramiko's messages about a login, which go nowhere.
_ATTEMPTS = "lisa_container.login_attempts"
logging.getLogger(_ATTEMPTS).propagate = False
logging.getLogger(_ATTEMPTS).addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Login:
    """Login to a guest over SSH.

    Attributes:
        vm: name of the VM, for errors.
        user: user who logs in.
        private_key: file of the user's private key.
        host_key: public key that the guest's sshd must have: type and key.
    """

    vm: str
    user: str
    private_key: Path
    host_key: str

    def open(self, port: int) -> paramiko.Transport:
        """Log in once, and return the connection.

        Args:
            port: port of this machine that leads to the guest's sshd.

        Raises:
            SshLostError: sshd does not answer, has another key or refuses the login.
        """
        try:
            stream = socket.create_connection((HOST_ADDRESS, port), _STEP_SECONDS)
            transport = paramiko.Transport(stream)
            transport.banner_timeout = transport.auth_timeout = _STEP_SECONDS
            transport.handshake_timeout = _STEP_SECONDS
            tune_tcp(transport)
            # A failed attempt raises an error, so paramiko need not log it as well.
            transport.set_log_channel(_ATTEMPTS)
            kind, encoded = self.host_key.split()
            host_key = paramiko.Ed25519Key(data=base64.b64decode(encoded))
            key = paramiko.PKey.from_path(self.private_key)
            try:
                transport.get_security_options().key_types = (kind,)
                transport.connect(host_key, self.user, pkey=key)
            except BaseException:
                transport.close()
                raise
            transport.set_log_channel("paramiko.transport")
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise SshLostError(f"VM '{self.vm}'", error) from error
        return transport

    def start(self, port: int, script: str, is_repeated: bool = False) -> LoginCommand:
        """Start a script of the guest's sh as root; the user must have sudo without a password.

        Args:
            port: port of this machine that leads to the guest's sshd.
            script: the script.
            is_repeated: whether to start it again where the connection breaks.
        """
        return LoginCommand(self, port, script, is_repeated)


class LoginCommand:
    """Script that runs in a guest, for a `with` block; at its end the connection is closed.

    Where the login fails, it is tried again: the guest may still be booting.

    Args:
        login: login to the guest.
        port: port of this machine that leads to its sshd.
        script: script of the guest's sh.
        is_repeated: whether to start it again where the connection breaks.
    """

    def __init__(self, login: Login, port: int, script: str, is_repeated: bool) -> None:
        """Connect to nothing yet; `is_done` does."""
        self._login, self._port, self._script = login, port, script
        self._is_repeated = is_repeated
        self._channel: paramiko.Channel | None = None
        self._errors = LimitedOutput(_LOG_BYTES)

    def __enter__(self) -> Self:
        """Return this object."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the connection, also if the script still runs."""
        self._disconnect()

    def is_done(self, seconds: float) -> bool:
        """Return whether the script has ended, after waiting for that.

        Args:
            seconds: time limit of the wait; a login may take longer.

        Raises:
            VmError: the script failed, with its error output in the message; or the connection
                broke while it ran.
        """
        channel = self._channel
        try:
            channel = channel or self._connect()
            code = self._wait(channel, seconds)
        except (paramiko.SSHException, EOFError, OSError) as error:  # such as SshLostError
            if channel is not None and not self._is_repeated:
                raise VmError(f"the connection broke while a script ran: {error}") from error
            self._disconnect()
            time.sleep(_REST_SECONDS)
            return False
        if code:
            text = self._errors.data.decode("utf-8", "replace")
            raise VmError(f"a script failed with {code}: {quote_output(text, _LOG_BYTES)}")
        return code == 0

    def _connect(self) -> paramiko.Channel:
        self._errors = LimitedOutput(_LOG_BYTES)
        transport = self._login.open(self._port)
        try:
            channel = transport.open_session(timeout=CHANNEL_TIMEOUT)
            channel.settimeout(CHANNEL_TIMEOUT)
            channel.set_combine_stderr(True)
            channel.exec_command("sudo -n sh -s >/dev/null")
            channel.sendall(self._script.encode())
            channel.shutdown_write()
        except BaseException:
            transport.close()
            raise
        self._channel = channel
        return channel

    def _wait(self, channel: paramiko.Channel, seconds: float) -> int | None:
        """Return the exit code; None if the script still runs."""
        deadline = time.monotonic() + seconds
        while True:
            while channel.recv_ready():
                self._errors.add(channel.recv(_CHUNK))
            if channel.exit_status_ready():
                return self._end(channel)
            if time.monotonic() >= deadline:
                return None
            time.sleep(min(_POLL_SECONDS, seconds))

    def _end(self, channel: paramiko.Channel) -> int:
        code = channel.recv_exit_status()
        if code < 0:
            raise EOFError("the connection ended before the script")
        # The last messages may follow the exit code. Processes that the script left may hold the
        # channel open.
        channel.settimeout(_REST_SECONDS)
        with suppress(socket.timeout):
            while code and (piece := channel.recv(_CHUNK)):
                self._errors.add(piece)
        return code

    def _disconnect(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            with suppress(paramiko.SSHException, EOFError, OSError):
                channel.get_transport().close()
