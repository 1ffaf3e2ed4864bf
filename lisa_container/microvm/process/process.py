"""QEMU process of one VM. It ends with this process, even if that is killed."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import weakref
from collections.abc import Sequence
from pathlib import Path

from lisa_container.errors import VmError
from lisa_container.forks import Owner
from lisa_container.microvm.machine.qemu import find_qemu
from lisa_container.microvm.process.agent import Agent
from lisa_container.microvm.process.folders import VmFolder
from lisa_container.microvm.process.network import PrivateNetwork
from lisa_container.microvm.process.qmp import Qmp
from lisa_container.microvm.process.shares import Share, listening

_KEEPER = Path(__file__).with_name("keeper.sh")
_LOG = "qemu.log"
_LOG_BYTES = 2000
_STOP_SECONDS = 60.0


class QemuProcess:
    """Running QEMU.

    A keeper, a small shell script, is its parent. The keeper waits for the end of a pipe whose
    other end only this process has; then it kills QEMU and removes the VM's folder.

    Args:
        name: name of the VM, for errors.
        folder: folder of the VM, which the keeper removes.
        arguments: arguments of QEMU, without the channels `qmp` and `agent`, and without the
            network backends `cable0`…, to which they may refer by these ids.
            Relative paths in them begin in the folder.
        networks: networks of these backends.
        shares: folders of this machine, with channels `share0`… for QEMU.

    Attributes:
        qmp: control of QEMU; not connected yet.
        agent: channel into the guest.
        pid: pid of QEMU.
        folder: the folder.

    Raises:
        VmMachineError: this machine cannot serve the shares.
        VmError: the keeper could not be started.
    """

    def __init__(
        self,
        name: str,
        folder: VmFolder,
        arguments: Sequence[str],
        networks: Sequence[PrivateNetwork] = (),
        shares: Sequence[Share] = (),
    ) -> None:
        """Start QEMU."""
        self._name = name
        self._owner = Owner()
        self.folder = folder.path
        # Connected pairs instead of sockets in a folder: nothing to remove, nothing to wait for.
        qmp, far_qmp = socket.socketpair()
        agent, far_agent = socket.socketpair()
        self._cables = [network.plug() for network in networks]
        cables = [cable.far.fileno() for cable in self._cables]
        channels = [far_qmp.fileno(), far_agent.fileno(), *cables]
        sockets = contextlib.ExitStack()
        try:
            servers = sockets.enter_context(listening(shares, folder.path))
            self._keeper = subprocess.Popen(
                [
                    *("/bin/bash", str(_KEEPER), str(folder.path)),
                    " ".join(map(str, channels)),
                    " ".join(map(str, servers.listeners)),
                    "\n".join(servers.commands),
                    find_qemu().path,
                    *arguments,
                    *("-chardev", f"socket,id=qmp,fd={channels[0]}"),
                    *("-mon", "chardev=qmp,mode=control"),
                    *("-chardev", f"socket,id=agent,fd={channels[1]}"),
                    *(
                        word
                        for number, fd in enumerate(cables)
                        for word in ("-netdev", f"socket,id=cable{number},fd={fd}")
                    ),
                    *(
                        word
                        for number in range(len(shares))
                        for word in ("-chardev", f"socket,id=share{number},path=share{number}")
                    ),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[*channels, *servers.listeners, folder.lock],
                cwd=folder.path,
                # Ctrl-C must reach only this process, which then ends the VM.
                start_new_session=True,
            )
        finally:
            sockets.close()
            far_qmp.close()
            far_agent.close()
            for cable in self._cables:
                cable.far.close()
            os.close(folder.lock)
        _running.add(self)
        assert self._keeper.stdout
        line = self._keeper.stdout.readline()
        if not line.strip():
            raise VmError(f"VM '{name}': the keeper of its QEMU did not start")
        self.pid = int(line)
        # The pid stays taken until the keeper ends, so this is QEMU.
        self._end = os.pidfd_open(self.pid)
        self.qmp = Qmp(name, qmp)
        self.agent = Agent(name, agent)

    @property
    def log(self) -> str:
        """End of QEMU's own messages."""
        with contextlib.suppress(OSError):
            return (self.folder / _LOG).read_text("utf-8", "replace").strip()[-_LOG_BYTES:]
        return ""

    def has_ended(self, seconds: float = 0) -> bool:
        """Return whether QEMU has ended, after waiting for that.

        Args:
            seconds: time limit.
        """
        return bool(select.select([self._end], [], [], seconds)[0])

    def kill(self) -> None:
        """Kill QEMU and remove the folder. Do nothing in a process forked from this one.

        Raises:
            VmError: the keeper did not end.
        """
        if self._owner.is_parent:
            return
        assert self._keeper.stdin and self._keeper.stdout
        self._keeper.stdin.close()
        self.qmp.close()
        self.agent.close()
        for cable in self._cables:
            cable.unplug()
        try:
            self._keeper.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise VmError(
                f"VM '{self._name}': QEMU, process {self.pid}, did not end in {_STOP_SECONDS:g} s"
            ) from error
        self._keeper.stdout.close()
        os.close(self._end)
        _running.discard(self)

    def _drop_pipe(self) -> None:
        """Close a forked process's copy of the pipe; with it, the VM would outlive its runner."""
        if self._keeper.stdin:
            with contextlib.suppress(OSError):
                os.close(self._keeper.stdin.fileno())


_running: weakref.WeakSet[QemuProcess] = weakref.WeakSet()


def _drop_pipes() -> None:
    for process in list(_running):
        process._drop_pipe()


os.register_at_fork(after_in_child=_drop_pipes)
