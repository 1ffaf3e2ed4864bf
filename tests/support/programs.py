"""Python programs that tests run: our command, LISA and scripts.

LISA takes more than a second of CPU time to import. So one process imports it, and forks a process for
each program. Tests of the interpreter's start, of terminals and of locales use `subprocess` instead.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

CLI = ("-m", "lisa_container.cli")
"""First words of `lisa-container`."""

LISA = (str(Path(sys.executable).parent / "lisa"),)
"""First words of `lisa`."""

_SERVER = Path(__file__).with_name("program_server.py")


class Program:
    """Running Python program.

    Attributes:
        words: its command line, as for `python`.
        pid: its process id.
        returncode: its exit code; None while it runs. A signal's number is negative.
    """

    def __init__(
        self,
        *words: str | Path,
        stdin: IO[Any] | int = subprocess.DEVNULL,
        stdout: IO[Any] | int = subprocess.DEVNULL,
        stderr: IO[Any] | int = subprocess.DEVNULL,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the program.

        Args:
            words: `-m` and a module, `-c` and code, or the path of a script; then arguments.
            stdin: open file, or `subprocess.DEVNULL`.
            stdout: open file, or `subprocess.DEVNULL`.
            stderr: open file, or `subprocess.DEVNULL`.
            folder: working folder; this process's by default.
            environment: variables in addition to this process's.
        """
        self.words = [str(word) for word in words]
        self.returncode: int | None = None
        order = {
            "words": self.words,
            "folder": str(folder or Path.cwd()),
            "environment": {**os.environ, **(environment or {})},
        }
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.connect(_server()[0])
        with Path(os.devnull).open("r+b") as null:
            files = [
                null if file == subprocess.DEVNULL else file for file in (stdin, stdout, stderr)
            ]
            numbers = [file if isinstance(file, int) else file.fileno() for file in files]
            socket.send_fds(self._connection, [json.dumps(order).encode()], numbers)
        self.pid = int(self._connection.recv(100))

    def poll(self) -> int | None:
        """Return the exit code, or None if the program runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the program, and return its exit code.

        Args:
            timeout: time limit in seconds.

        Raises:
            subprocess.TimeoutExpired: The program still runs.
        """
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.words, timeout or 0)
            self.returncode = int(self._connection.recv(100))
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the program has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the program with SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Captured(Program):
    """Running program whose output is kept in temporary files."""

    def __init__(self, *words: str | Path, input: str = "", **options: Any) -> None:
        """Start the program.

        Args:
            words: as for `Program`.
            input: text for its stdin.
            options: as for `Program`.
        """
        self._out = tempfile.TemporaryFile()  # noqa: SIM115, it ends with `finish`
        self._err = tempfile.TemporaryFile()  # noqa: SIM115
        with tempfile.TemporaryFile() as stdin:
            stdin.write(input.encode())
            stdin.seek(0)
            super().__init__(*words, stdin=stdin, stdout=self._out, stderr=self._err, **options)

    def finish(self, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Wait for the end of the program, and return its output; kill it after the time limit.

        Args:
            timeout: time limit in seconds.

        Raises:
            subprocess.TimeoutExpired: The program had to be killed.
        """
        try:
            self.wait(timeout)
        except BaseException:
            self.kill()
            raise
        texts = []
        for file in (self._out, self._err):
            file.seek(0)
            texts.append(file.read().decode())
            file.close()
        return subprocess.CompletedProcess(self.words, self.wait(), *texts)


def run(
    *words: str | Path, timeout: float = 60, check: bool = False, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end.

    Args:
        words: as for `Program`.
        timeout: time limit in seconds.
        check: fail if the exit code is not 0.
        options: as for `Captured`.

    Raises:
        subprocess.TimeoutExpired: The program had to be killed.
    """
    done = Captured(*words, **options).finish(timeout)
    assert not check or done.returncode == 0, done
    return done


@functools.cache
def _server() -> tuple[str, Any]:
    """Start the server, and return its address and process. It ends with this process."""
    address = f"\0lisa_container tests {os.getpid()}"  # an abstract socket, which has no file
    # Coverage is measured in the forked processes, which get these variables with their orders.
    environment = {name: x for name, x in os.environ.items() if not name.startswith("COV_CORE_")}
    process = subprocess.Popen(
        [sys.executable, _SERVER, address[1:]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stdout.read(1) == b"!", "the server of programs does not start"
    return address, process
