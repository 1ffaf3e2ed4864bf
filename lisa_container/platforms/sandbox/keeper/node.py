"""Node of a sandbox: its folders, namespaces, readiness and end."""

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

from lisa_container.system import environment

from . import cgroups
from .commands import KeeperError
from .files import Identity, Upper, init_settings, populate
from .kernel import die_with_parent, network_of
from .network import Network
from .spec import Spec

_BOOT = Path(__file__).with_name("boot.sh")
_INIT = Path(__file__).with_name("init.sh")
# Subfolders that boot.sh expects in a node's folder.
_FOLDERS = ("upper", "work", "docker", "root", "run")
_SSH_PORT = 22
_POLL_SECONDS = 0.02
# Lines of the console to show when a node does not boot.
_CONSOLE_LINES = 15
_NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")


class Node:
    """Node of a sandbox. Call `launch`, `go`, `wait_ready` and `kill` in this order.

    Args:
        spec: request for the sandbox.
        folder: folder for this node's files, on a real file system.
        identity: the node's name, address and key.
        network: network of the sandbox.

    Attributes:
        pid: pid of the node's init on the machine.
        folder: folder of the node's files.
        name: host name.
        address: IPv4 address.
    """

    def __init__(self, spec: Spec, folder: Path, identity: Identity, network: Network) -> None:
        """Create nothing yet."""
        self._spec = spec
        self._identity = identity
        self._network = network
        self._hierarchies = cgroups.hierarchies()
        self._process: subprocess.Popen[bytes] | None = None
        self.pid = 0
        # Descriptor of the init, since another process may get the pid of a node that has ended.
        self._init: int | None = None
        self.folder = folder
        self.name = identity.name
        self.address = identity.address

    @property
    def console(self) -> Path:
        """File with the output of the node's boot and init."""
        return self.folder / "console.log"

    @property
    def cgroup_folders(self) -> list[Path]:
        """Cgroups of the node's init, one per hierarchy."""
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

        # Before the namespaces, because a new cgroup namespace has the current cgroup as its root.
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
        self._init = os.pidfd_open(self.pid)
        # `unshare` stays alive as the parent of the node's init, so move it out of the node's
        # cgroup: version 2 enables no controllers for a subtree with a process in its root.
        for each in self._hierarchies:
            if each.is_v2:
                cgroups.enter(cgroups.own(each), self._process.pid)

    def go(self) -> None:
        """Let the node boot. Its network interface must exist."""
        assert self._process and self._process.stdin
        with suppress(BrokenPipeError):
            self._process.stdin.write(b"go\n")
            self._process.stdin.close()

    def wait_ready(self, interrupted: Callable[[], bool]) -> None:
        """Wait for sshd, and for Docker Engine if the node starts it.

        Args:
            interrupted: function that returns whether to stop waiting.

        Raises:
            KeeperError: the node ended or was not ready in time.
        """
        deadline = time.monotonic() + self._spec.ready_seconds
        checks = [("sshd", self._sshd_answers)]
        if self._spec.docker:
            checks.append(("dockerd", self._docker_answers))
        for daemon, answers in checks:
            while not answers():
                if interrupted():
                    raise KeeperError(f"node {self.name}: the wait was interrupted")
                if self.exit_code() is not None:
                    raise self._failure("ended while booting")
                if time.monotonic() > deadline:
                    seconds = self._spec.ready_seconds
                    raise self._failure(f"{daemon} did not answer within {seconds:g} s")
                time.sleep(_POLL_SECONDS)

    def exit_code(self) -> int | None:
        """Return the exit code of the node's init, or None while it runs."""
        return self._process.poll() if self._process else None

    def kill(self) -> None:
        """Kill the node with every process in it, and return when all are dead."""
        if not self._process:
            return
        # Killing the init of a pid namespace kills all its processes. The parent learns of it only
        # when all are gone, so kill the init and wait for its parent.
        with suppress(ProcessLookupError):
            if self._init is not None:
                signal.pidfd_send_signal(self._init, signal.SIGKILL)
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
        # First from inside the node: a packet sent before its interface is up is lost, and the
        # machine repeats its ARP request only after a second.
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
        output = "\n".join(text.splitlines()[-_CONSOLE_LINES:]) or "(no output)"
        return KeeperError(f"node {self.name}: {what}. The end of its output:\n{output}")


def _is_sshd(address: str, namespace: int) -> bool:
    with network_of(namespace):
        connection = socket.create_connection((address, _SSH_PORT), timeout=1)
    with connection:
        return connection.recv(4) == b"SSH-"
