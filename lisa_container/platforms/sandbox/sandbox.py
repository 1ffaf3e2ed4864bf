"""A sandbox from Python: nodes for a `with` block, no LISA needed."""

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

from lisa_container.errors import SandboxError
from lisa_container.platforms.sandbox import rootfs
from lisa_container.platforms.sandbox.config import DockerMode, SandboxConfig
from lisa_container.platforms.sandbox.keeper.commands import environment
from lisa_container.platforms.sandbox.keeper.spec import Spec
from lisa_container.platforms.sandbox.machine import require

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
        name: its host name; the other nodes know it.
        address: its IPv4 address, reachable from this machine and from the other nodes.
        username: who logs in by key and has sudo without a password; root logs in by the same key.
        password_username: who logs in by key or password, and needs the password for sudo.
        password: his.
        private_key_file: the key for all three.
        pid: of its init, as this machine sees it; `/proc/<pid>/root` is the node's file system.
        port: of sshd.
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
        """What the node's boot and its daemons said so far."""
        return self._console.read_text(encoding="utf-8", errors="replace")

    def run(
        self,
        command: str | Sequence[str],
        *,
        check: bool = True,
        stdin: str = "",
        timeout: float | None = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the node as root, past sshd and its logins.

        For setting the stage of a test, and for looking at a node whose network is broken.

        Args:
            command: a shell's command line, or a program and its arguments.
            check: whether a failure raises.
            stdin: what it reads.
            timeout: in seconds; it is killed after that.

        Returns:
            Its exit code and output.

        Raises:
            SandboxError: it failed, or took too long.

        >>> node.run("cat /etc/hostname").stdout
        'node0\\n'
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
        """End the node at once, as if its power was cut. It does not come back."""
        os.kill(self.pid, signal.SIGKILL)

    def ssh_command(self, username: str = "") -> list[str]:
        """The command line that logs in, for a person or a subprocess; append a command at will.

        Args:
            username: who logs in; `username` when empty.
        """
        options = {
            "IdentityFile": str(self.private_key_file),
            "IdentitiesOnly": "yes",
            # The node's address is used again by other nodes with other keys.
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
        }
        words = [word for item in options.items() for word in ("-o", "=".join(item))]
        return ["ssh", *words, "-p", str(self.port), f"{username or self.username}@{self.address}"]

    def _entering(self, words: list[str]) -> list[str]:
        # Into the node's cgroups first: nsenter enters only their namespace.
        join = 'for file in $0; do echo $$ >"$file/cgroup.procs"; done; exec "$@"'
        # Not the root of its mount namespace: that is the machine's where this process has another.
        enter = ["nsenter", "--target", str(self.pid), "--all", "--root", "--wd"]
        enter += ["env", "--ignore-environment"]
        variables = [f"{name}={value}" for name, value in _NODE_ENVIRONMENT.items()]
        return ["/bin/sh", "-c", join, " ".join(self._cgroups), *enter, *variables, *words]


class Sandbox:
    """Throw-away nodes on this machine, for a `with` block or between `start` and `stop`.

    They end with this process, however it ends. Any number of sandboxes can exist at a time, in one
    process or in many. It is no security boundary: root on a node can do to this machine what root
    can.

    Args:
        config: what is asked for.
        logger: told about the progress.

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
        self.nodes: list[SandboxNode] = []
        self._config = config or SandboxConfig()
        self._log = logger or _log
        self._lock = threading.Lock()
        self._keeper: subprocess.Popen[str] | None = None

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> Sandbox:
        """Make the nodes and return when all are ready. Does nothing when they are.

        Raises:
            SandboxMachineError: this machine lacks something.
            SandboxError: the nodes did not get ready; nothing of them is left.
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
                # LISA ends a thread by any exception at any place; nothing may be left then either.
                self._stop_keeper()
                raise
            addresses = ", ".join(f"{node.name} {node.address}" for node in self.nodes)
            self._log.info(f"sandbox: {addresses}; throw-away, and no security boundary")
        return self

    def stop(self) -> None:
        """End the nodes and leave the machine as it was. Does nothing when that is done already.

        Raises:
            SandboxError: something could not be undone; the next sandbox tries again.
        """
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
            # Ctrl-C is for the runner; the keeper ends when the runner has.
            start_new_session=True,
        )
        assert self._keeper.stdin and self._keeper.stdout
        # A keeper that could not start says so on the other pipe.
        with suppress(BrokenPipeError):
            self._keeper.stdin.write(f"{spec.to_json()}\n")
            self._keeper.stdin.flush()
        reply = _message(self._keeper.stdout.readline())
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
        problem = _message(lines[-1] if lines else "").get("error")
        if problem:
            raise SandboxError(
                f"sandbox: not all could be undone, the next sandbox will try again: {problem}"
            )


def start_sandbox(count: int = 1, **options: Any) -> Sandbox:
    """Start a sandbox.

    Args:
        count: how many nodes.
        options: the other attributes of `SandboxConfig`.

    Returns:
        It, running; to be stopped by its `stop`, or by a `with`.

    Raises:
        ConfigError: an option is wrong.
        SandboxError: see `Sandbox.start`.

    >>> with start_sandbox(2, docker=False) as sandbox:
    ...     print(sandbox.nodes[0].ssh_command())
    """
    return Sandbox(SandboxConfig(count=count, **options)).start()


def _message(line: str) -> dict[str, Any]:
    """What the keeper says in a line; it says nothing when it was killed."""
    message: dict[str, Any] = json.loads(line) if line else {"error": "the keeper was killed"}
    return message


# Those that nobody has stopped yet, for the end of the process.
_running: weakref.WeakSet[Sandbox] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    for sandbox in list(_running):
        try:
            sandbox.stop()
        except SandboxError as error:
            # The others are to be stopped, too.
            _log.warning(str(error))
