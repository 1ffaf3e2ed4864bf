"""QEMU of one VM. It ends with this process, even if that is killed."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import subprocess
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path

from lisa_container.errors import VmError
from lisa_container.forks import Owner
from lisa_container.locks import locked, try_lock
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
# Line for the keeper: the folder is to stay.
_KEEP_FOLDER = b"keep\n"


class QemuProcess:
    """Running QEMU, which can be started again in its folder.

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
        agent: channel into the guest.
        folder: the folder.
        lock: lock that a restart holds from the end of the old QEMU to the start of the new one.

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
        self._networks, self._shares = networks, shares
        self.folder = folder.path
        self.lock = threading.RLock()
        self.agent = Agent(name)
        self._end: int | None = None
        self._launch(folder, arguments)

    @property
    def qmp(self) -> Qmp:
        """Control of the present QEMU; not connected after a start."""
        with self.lock:
            return self._qmp

    @property
    def pid(self) -> int:
        """Pid of the present QEMU."""
        with self.lock:
            return self._pid

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
        with self.lock:
            return self._end is None or bool(select.select([self._end], [], [], seconds)[0])

    def restart(self, arguments: Sequence[str]) -> None:
        """End QEMU, which writes what it holds of its disks, and start it again.

        Args:
            arguments: arguments of the new QEMU, as of the first.

        Raises:
            QmpLostError: QEMU has ended already.
            VmError: QEMU did not end, or the keeper could not be started.
        """
        with self.lock:
            self._qmp.execute("quit")
            if not self.has_ended(_STOP_SECONDS):
                raise self._does_not_end()
            # Between the two keepers, this process keeps others from removing the folder.
            with locked(self.folder.parent):
                self._end_keeper(_KEEP_FOLDER)
                lock = try_lock(self.folder)
            if lock is None:
                raise VmError(f"VM '{self._name}': another process uses its folder")
            self._launch(VmFolder(self.folder, lock), arguments)

    def kill(self) -> None:
        """Kill QEMU and remove the folder. Do nothing in a process forked from this one.

        Raises:
            VmError: the keeper did not end.
        """
        if self._owner.is_parent:
            return
        with self.lock:
            self._end_keeper()
            self.agent.close()
            # Of a restart that failed: the keeper was to leave it.
            shutil.rmtree(self.folder, ignore_errors=True)
            _running.discard(self)

    def _launch(self, folder: VmFolder, arguments: Sequence[str]) -> None:
        # Connected pairs instead of sockets in a folder: nothing to remove, nothing to wait for.
        qmp, far_qmp = socket.socketpair()
        agent, far_agent = socket.socketpair()
        self._cables = [network.plug() for network in self._networks]
        cables = [cable.far.fileno() for cable in self._cables]
        channels = [far_qmp.fileno(), far_agent.fileno(), *cables]
        sockets = contextlib.ExitStack()
        try:
            servers = sockets.enter_context(listening(self._shares, self.folder))
            self._keeper = subprocess.Popen(
                [
                    *("/bin/bash", str(_KEEPER), str(self.folder)),
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
                        for number in range(len(self._shares))
                        for word in ("-chardev", f"socket,id=share{number},path=share{number}")
                    ),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[*channels, *servers.listeners, folder.lock],
                cwd=self.folder,
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
            raise VmError(f"VM '{self._name}': the keeper of its QEMU did not start")
        self._pid = int(line)
        # The pid stays taken until the keeper ends, so this is QEMU.
        self._end = os.pidfd_open(self._pid)
        self._qmp = Qmp(self._name, qmp)
        self.agent.connect(agent)

    def _end_keeper(self, order: bytes = b"") -> None:
        if self._end is None:
            return
        assert self._keeper.stdin and self._keeper.stdout
        self._keeper.stdin.write(order)
        self._keeper.stdin.close()
        self._qmp.close()
        for cable in self._cables:
            cable.unplug()
        try:
            self._keeper.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise self._does_not_end() from error
        self._keeper.stdout.close()
        os.close(self._end)
        self._end = None

    def _does_not_end(self) -> VmError:
        return VmError(
            f"VM '{self._name}': QEMU, process {self._pid}, did not end in {_STOP_SECONDS:g} s"
        )

    def _after_fork(self) -> None:
        """Close a forked process's copy of the pipe; with it, the VM would outlive its runner."""
        # Another thread may have held the lock.
        self.lock = threading.RLock()
        if self._keeper.stdin:
            with contextlib.suppress(OSError):
                os.close(self._keeper.stdin.fileno())


_running: weakref.WeakSet[QemuProcess] = weakref.WeakSet()


def _after_fork() -> None:
    for process in list(_running):
        process._after_fork()


os.register_at_fork(after_in_child=_after_fork)
