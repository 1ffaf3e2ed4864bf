"""Python interface of a sandbox: nodes for a `with` block, without LISA."""

from __future__ import annotations

import atexit
import json
import logging
import os
import secrets
import shlex
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from lisa_container.addresses import Address, throw_away_ssh
from lisa_container.errors import SandboxError
from lisa_container.forks import Owner
from lisa_container.masking import Plain
from lisa_container.platforms.sandbox import rootfs
from lisa_container.platforms.sandbox.config import DockerMode, SandboxConfig
from lisa_container.platforms.sandbox.keeper.spec import Spec
from lisa_container.platforms.sandbox.machine import require
from lisa_container.system import environment

_log = logging.getLogger(__name__)

_KEEPER = Path(__file__).parent / "keeper" / "__main__.py"
_STOP_SECONDS = 300
_SSH_PORT = 22
_NODE_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}


@dataclass(frozen=True)
class SandboxNode:
    """A running node.

    Attributes:
        name: host name, which the other nodes can resolve.
        address: IPv4 address, reachable from this machine and from the other nodes.
        username: user who logs in with the key and has sudo without a password. root accepts the
            same key.
        password_username: user who logs in with the key or the password, and needs the password for
            sudo.
        password: password of `password_username`.
        private_key_file: private key for all three users.
        pid: pid of the node's init on this machine; `/proc/<pid>/root` is the node's file system.
        port: port of sshd.
    """

    name: str
    address: str
    username: str
    password_username: str
    password: str = field(repr=False)
    private_key_file: Path
    pid: int
    port: int = _SSH_PORT
    _console: Path = field(default=Path(), repr=False)
    _cgroups: tuple[str, ...] = field(default=(), repr=False)

    @property
    def console(self) -> str:
        """Output of the node's boot and daemons so far."""
        return self._console.read_text(encoding="utf-8", errors="replace")

    def run(
        self,
        command: str | Sequence[str],
        *,
        check: bool = True,
        stdin: str = "",
        timeout: float | None = 60,
    ) -> subprocess.CompletedProcess[str]:
        r"""Run a command on the node as root, without SSH.

        Use this to prepare a test, or to inspect a node whose network is broken.

        Args:
            command: a command line for the shell, or a program and its arguments.
            check: whether a nonzero exit code raises an error.
            stdin: input of the command.
            timeout: time limit in seconds; then the command is killed.

        Returns:
            Exit code and output of the command.

        Raises:
            SandboxError: the command failed or exceeded its time limit.

        >>> node.run("cat /etc/hostname").stdout
        'node0\n'
        """
        words = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        try:
            done = subprocess.run(
                self._entering(words),
                input=stdin,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                env=environment(),
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise SandboxError(
                f"sandbox: `{shlex.join(words)}` did not end within {timeout:g} s on {self.name}"
            ) from error
        done.args = words
        if check and done.returncode != 0:
            raise SandboxError(
                f"sandbox: `{shlex.join(words)}` failed with {done.returncode} on {self.name}:"
                f" {done.stderr.strip() or done.stdout.strip()}"
            )
        return done

    def kill(self) -> None:
        """Kill the node at once, like a power failure. The node does not come back."""
        with suppress(ProcessLookupError):
            process = os.pidfd_open(self.pid)
            try:
                # If the node has ended already, another process may have its pid.
                command = Path(f"/proc/{self.pid}/cmdline").read_bytes()
                if b"/run/sandbox/init" in command:
                    signal.pidfd_send_signal(process, signal.SIGKILL)
            except FileNotFoundError:
                pass
            finally:
                os.close(process)

    def ssh_command(self, username: str = "") -> list[str]:
        """Return an SSH command line for the node. You may append a remote command.

        Args:
            username: user who logs in; empty means `self.username`.
        """
        address = Address(username or self.username, self.address, self.port)
        return throw_away_ssh(address, self.private_key_file)

    def _entering(self, words: list[str]) -> list[str]:
        # Join the node's cgroups first, because nsenter enters only their namespace.
        join = 'for file in $0; do echo $$ >"$file/cgroup.procs"; done; exec "$@"'
        # --root and --wd take the node's root. The root of its mount namespace may differ from it.
        enter = ["nsenter", "--target", str(self.pid), "--all", "--root", "--wd"]
        enter += ["env", "--ignore-environment"]
        variables = [f"{name}={value}" for name, value in _NODE_ENVIRONMENT.items()]
        return ["/bin/sh", "-c", join, " ".join(self._cgroups), *enter, *variables, *words]


class Sandbox:
    """Throw-away nodes on this machine, for a `with` block or between `start` and `stop`.

    The nodes end with this process, even if it is killed. Any number of sandboxes can exist at the
    same time, in one process or in many. A sandbox is no security boundary: root on a node has the
    power of root on this machine.

    Args:
        config: config of the sandbox; None means the defaults.
        logger: logger for progress messages.

    Attributes:
        nodes: the running nodes; empty before `start` and after `stop`.

    >>> with Sandbox(SandboxConfig(count=2)) as sandbox:
    ...     sandbox.nodes[0].run("ping -c 1 node1")
    """

    def __init__(
        self,
        config: SandboxConfig | None = None,
        logger: logging.Logger | logging.LoggerAdapter[Any] | None = None,
    ) -> None:
        """Create nothing yet; `start` does."""
        self.nodes: list[SandboxNode] = []
        self._config = config or SandboxConfig()
        self._log = logger or _log
        self._lock = threading.Lock()
        self._owner = Owner()
        self._keeper: subprocess.Popen[str] | None = None

    def __enter__(self) -> Sandbox:
        """Start the nodes."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the nodes."""
        self.stop()

    def start(self) -> Sandbox:
        """Start the nodes and return when all are ready. Do nothing if they run already.

        Raises:
            SandboxMachineError: this machine lacks something.
            SandboxError: the nodes did not become ready; they were removed.
        """
        with self._lock:
            if self._keeper:
                return self
            require(self._config)
            folder = rootfs.provide(self._config, self._log.info)
            _running.add(self)
            try:
                self.nodes = self._start_keeper(folder)
            except BaseException:
                # LISA may raise an exception in this thread at any place. Nothing may be left then.
                self._stop_keeper()
                raise
            addresses = ", ".join(f"{node.name} {node.address}" for node in self.nodes)
            self._log.info(Plain(f"sandbox: {addresses}; throw-away nodes, no security boundary"))
        return self

    def stop(self) -> None:
        """Stop the nodes and restore the machine. Do nothing if that is done already.

        Raises:
            SandboxError: something could not be restored; the next sandbox tries again.
        """
        if self._owner.is_parent:
            return
        with self._lock:
            self._stop_keeper()

    def _start_keeper(self, folder: Path) -> list[SandboxNode]:
        config = self._config
        spec = Spec(
            id=secrets.token_hex(4),
            runner=os.getpid(),
            rootfs=str(folder),
            data_root=str(rootfs.cache_folder(config) / "nodes"),
            nodes=[f"{config.name}{index}" for index in range(config.count)],
            user=config.user,
            password_user=config.password_user,
            password=secrets.token_urlsafe(12),
            docker=config.docker_mode is DockerMode.RUNNING,
            docker_group=config.docker_group,
            ready_seconds=config.ready_seconds,
        )
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", str(_KEEPER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            # Ctrl-C must reach only the runner. The keeper ends after the runner.
            start_new_session=True,
        )
        assert self._keeper.stdin and self._keeper.stdout
        # If the keeper could not start, the other pipe has its error message.
        with suppress(BrokenPipeError):
            self._keeper.stdin.write(f"{spec.to_json()}\n")
            self._keeper.stdin.flush()
        reply = _parse_message(self._keeper.stdout.readline())
        if "error" in reply:
            raise SandboxError(f"sandbox: {reply['error']}")
        return [
            SandboxNode(
                name=node["name"],
                address=node["address"],
                username=spec.user,
                password_username=spec.password_user,
                password=spec.password,
                private_key_file=Path(reply["key"]),
                pid=node["pid"],
                _console=Path(node["console"]),
                _cgroups=tuple(node["cgroups"]),
            )
            for node in reply["nodes"]
        ]

    def _stop_keeper(self) -> None:
        keeper, self._keeper = self._keeper, None
        self.nodes = []
        _running.discard(self)
        if not keeper:
            return
        assert keeper.stdin and keeper.stdout
        with suppress(BrokenPipeError):
            keeper.stdin.close()
        try:
            keeper.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise SandboxError(
                f"sandbox: the keeper, process {keeper.pid}, did not end within {_STOP_SECONDS} s"
            ) from error
        with keeper.stdout:
            lines = keeper.stdout.readlines()
        problem = _parse_message(lines[-1] if lines else "").get("error")
        if problem:
            raise SandboxError(
                f"sandbox: clean-up failed, the next sandbox will try again: {problem}"
            )


def start_sandbox(count: int = 1, **options: Any) -> Sandbox:
    """Start a sandbox.

    Args:
        count: number of nodes.
        **options: the other attributes of `SandboxConfig`.

    Returns:
        The running sandbox. Stop it with `stop`, or use it in a `with` block.

    Raises:
        ConfigError: an option is illegal.
        SandboxError: see `Sandbox.start`.

    >>> with start_sandbox(2, docker=False) as sandbox:
    ...     print(sandbox.nodes[0].ssh_command())
    """
    return Sandbox(SandboxConfig(count=count, **options)).start()


def _parse_message(line: str) -> dict[str, Any]:
    """Parse a line from the keeper. An empty line means that the keeper was killed."""
    message: dict[str, Any] = json.loads(line) if line else {"error": "the keeper was killed"}
    return message


# Running sandboxes, to be stopped at the end of the process.
_running: weakref.WeakSet[Sandbox] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    for sandbox in list(_running):
        try:
            sandbox.stop()
        except SandboxError as error:
            # Continue with the other sandboxes.
            _log.warning(Plain(str(error)))
