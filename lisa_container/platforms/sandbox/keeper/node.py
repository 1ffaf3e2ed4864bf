"""One node: its folders, its namespaces, whether it is ready, its end."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Callable

from . import cgroups
from .commands import KeeperError, environment
from .files import Identity, Upper, init_settings, populate
from .kernel import die_with_parent, network_of
from .network import Network
from .spec import Spec

_BOOT = Path(__file__).with_name("boot.sh")
_INIT = Path(__file__).with_name("init.sh")
# What boot.sh expects in a node's folder.
_FOLDERS = ("upper", "work", "docker", "root", "run")
_SSH_PORT = 22
_POLL_SECONDS = 0.02
# How much of the console is worth showing when a node does not come up.
_CONSOLE_LINES = 15
_NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")


class Node:
    """A node of the sandbox. The calls in order: `launch`, `go`, `wait_ready`, `kill`.

    Args:
        spec: of the sandbox.
        folder: for this node's files, on a real file system.
        identity: the node's name, address and key.
        network: to which it belongs.

    Attributes:
        pid: of the node's init as the machine sees it.
        folder: its files.
        name: its host name.
        address: its address.
    """

    def __init__(self, spec: Spec, folder: Path, identity: Identity, network: Network) -> None:
        self._spec = spec
        self._identity = identity
        self._network = network
        self._hierarchies = cgroups.hierarchies()
        self._process: subprocess.Popen[bytes] | None = None
        self.pid = 0
        self.folder = folder
        self.name = identity.name
        self.address = identity.address

    @property
    def console(self) -> Path:
        """What the node's boot and its init said."""
        return self.folder / "console.log"

    @property
    def cgroup_folders(self) -> list[Path]:
        """The cgroups of its init, one per hierarchy."""
        return [each.mount / self._cgroup / each.leaf for each in self._hierarchies]

    def launch(self) -> None:
        """Start the node's first process, which then waits for `go`."""
        for name in _FOLDERS:
            (self.folder / name).mkdir(parents=True)
        populate(Upper(self.folder / "upper", Path(self._spec.rootfs)), self._spec, self._identity)
        settings = self.folder / "run" / "settings"
        settings.write_text(init_settings(self._spec, self._identity), encoding="utf-8")
        settings.chmod(0o600)
        (self.folder / "run" / "init.sh").write_bytes(_INIT.read_bytes())

        # Before the namespaces: a cgroup namespace's root is the cgroup one is in when making it.
        subtree = [cgroups.create(each, self._cgroup) for each in self._hierarchies]

        def prepare() -> None:
            die_with_parent()
            for folder in subtree:
                cgroups.enter(folder)

        with self.console.open("wb") as console:
            self._process = subprocess.Popen(
                ["unshare", *_NAMESPACES, "--fork", "--kill-child", "/bin/sh", str(_BOOT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=console,
                cwd="/",
                env={**environment(), **self._boot_settings()},
                preexec_fn=prepare,
            )
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line.strip():
            raise self._failure("could not be started")
        self.pid = int(line)
        # `unshare` stays as the parent of the node's init. Version 2 hands no controllers to a
        # subtree with a process in its root.
        for each in self._hierarchies:
            if each.is_v2:
                cgroups.enter(cgroups.own(each), self._process.pid)

    def go(self) -> None:
        """Let it boot; its network interface is there."""
        assert self._process and self._process.stdin
        with suppress(BrokenPipeError):
            self._process.stdin.write(b"go\n")
            self._process.stdin.close()

    def wait_ready(self, interrupted: Callable[[], bool]) -> None:
        """Wait for sshd, and for the Docker Engine where it is started.

        Args:
            interrupted: tells whether there is no more reason to wait.

        Raises:
            KeeperError: it was not ready in time, or ended.
        """
        deadline = time.monotonic() + self._spec.ready_seconds
        checks = [("sshd", self._sshd_answers)]
        if self._spec.docker:
            checks.append(("dockerd", self._docker_answers))
        for daemon, answers in checks:
            while not answers():
                if interrupted():
                    raise KeeperError(f"node {self.name}: not waited for any more")
                if self.exit_code() is not None:
                    raise self._failure("ended while booting")
                if time.monotonic() > deadline:
                    seconds = self._spec.ready_seconds
                    raise self._failure(f"{daemon} did not answer within {seconds:g} s")
                time.sleep(_POLL_SECONDS)

    def exit_code(self) -> int | None:
        """How the node's init ended; None while it runs."""
        return self._process.poll() if self._process else None

    def kill(self) -> None:
        """End the node at once, with every process in it; return when all are dead."""
        if not self._process:
            return
        # The death of a pid namespace's init kills everything in it, and is reported to its parent
        # only when all of that is gone. Killing the parent first would not let us wait.
        with suppress(ProcessLookupError):
            if self.pid:
                os.kill(self.pid, signal.SIGKILL)
            else:
                self._process.kill()
        self._process.wait()

    @property
    def _cgroup(self) -> str:
        return f"lisa_container.{self._spec.id}.{self.name}"

    def _boot_settings(self) -> dict[str, str]:
        return {
            "NODE": str(self.folder),
            "ROOTFS": self._spec.rootfs,
            "ADDRESS": f"{self.address}/{self._network.subnet.prefixlen}",
            "GATEWAY": self._network.gateway,
            "HOST_NAME": self.name,
            "CGROUPS": "\n".join(f"{each.folder}:{each.options}" for each in self._hierarchies),
        }

    def _sshd_answers(self) -> bool:
        # From the node itself first: what is sent to it before its interface is up is lost, and the
        # machine asks for its address again only after a second.
        with suppress(OSError), Path(f"/proc/{self.pid}/ns/net").open("rb") as namespace:
            return _is_sshd("127.0.0.1", namespace.fileno()) and _is_sshd(
                self.address, self._network.machine
            )
        return False

    def _docker_answers(self) -> bool:
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("docker", timeout=1)
            connection.sock = socket.socket(socket.AF_UNIX)
            try:
                connection.sock.settimeout(1)
                connection.sock.connect(f"/proc/{self.pid}/root/run/docker.sock")
                connection.request("GET", "/_ping")
                return connection.getresponse().status == http.client.OK
            finally:
                connection.close()
        return False

    def _failure(self, what: str) -> KeeperError:
        text = self.console.read_text(encoding="utf-8", errors="replace")
        docker_log = self.folder / "upper" / "var" / "log" / "docker.log"
        if docker_log.exists():
            text += docker_log.read_text(encoding="utf-8", errors="replace")
        said = "\n".join(text.splitlines()[-_CONSOLE_LINES:]) or "(it said nothing)"
        return KeeperError(f"node {self.name}: {what}. The end of what it said:\n{said}")


def _is_sshd(address: str, namespace: int) -> bool:
    with network_of(namespace):
        connection = socket.create_connection((address, _SSH_PORT), timeout=1)
    with connection:
        return connection.recv(4) == b"SSH-"
