"""Commands in a guest over SSH, for guests that have no agent of ours: images of others."""

from __future__ import annotations

import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from lisa_container.addresses import Address, throw_away_ssh
from lisa_container.errors import VmError
from lisa_container.escaping import quote_output
from lisa_container.microvm.machine.command_line import HOST_ADDRESS
from lisa_container.system import environment

# Exit code of ssh where it has no connection. The guest may still be starting.
_NO_CONNECTION = 255
_REST_SECONDS = 1.0
_CONNECT_SECONDS = 20
_LOG_CHARACTERS = 1000


@dataclass(frozen=True)
class Login:
    """Login over SSH of a user who has sudo without a password.

    Attributes:
        user: the user.
        private_key: file of the user's private key.
    """

    user: str
    private_key: Path

    def start(self, port: int, script: str) -> LoginCommand:
        """Start a script of the guest's sh as root. A login that fails is repeated.

        Args:
            port: port of this machine that leads to the guest's sshd.
            script: the script.
        """
        address = Address(self.user, HOST_ADDRESS, port)
        name, *words = throw_away_ssh(address, self.private_key)
        options = [
            *("-o", "BatchMode=yes"),
            *("-o", f"ConnectTimeout={_CONNECT_SECONDS}"),
        ]
        return LoginCommand([name, *options, *words, "sudo -n sh -s"], script)


class LoginCommand:
    """Script that runs in a guest, for a `with` block; at its end the connection is closed.

    Args:
        command: command line of ssh.
        script: standard input of the remote shell.
    """

    def __init__(self, command: list[str], script: str) -> None:
        """Begin with the first login."""
        self._command, self._script = command, script
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed at the end of the block
        self._process = self._connect()

    def __enter__(self) -> Self:
        """Return this object."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the connection if the script still runs."""
        self._process.kill()
        self._process.wait()
        self._errors.close()

    def is_done(self, seconds: float) -> bool:
        """Return whether the script has ended, after waiting for that.

        Args:
            seconds: time limit.

        Raises:
            VmError: the script failed; its error output is in the message.
        """
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        if code == 0:
            return True
        if code == _NO_CONNECTION:
            time.sleep(_REST_SECONDS)
            self._process = self._connect()
            return False
        self._errors.seek(0)
        errors = quote_output(self._errors.read().decode("utf-8", "replace"), _LOG_CHARACTERS)
        raise VmError(f"a script failed with {code}: {errors}")

    def _connect(self) -> subprocess.Popen[bytes]:
        self._errors.truncate(0)
        with tempfile.TemporaryFile() as script:
            script.write(self._script.encode())
            script.seek(0)
            return subprocess.Popen(
                self._command,
                stdin=script,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env=environment(),
                # Ctrl-C must reach only this process.
                start_new_session=True,
            )
