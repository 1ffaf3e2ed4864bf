"""Commands and files in a virtual machine over one SSH connection, and the VM as a LISA node."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, cast

import paramiko
from lisa.node import Node
from lisa.util import LisaException
from lisa.util.logger import get_logger

from lisa_container.addresses import Address
from lisa_container.archives.pack import Packing
from lisa_container.container.command import RunningCommand
from lisa_container.container.command_log import log_end
from lisa_container.container.request import CommandRequest, Stdin
from lisa_container.container.result import CommandResult
from lisa_container.engine.client import Engine
from lisa_container.engine.reach import remote_node
from lisa_container.errors import CopyError, CopyNotFoundError, VmError
from lisa_container.microvm.command import VmCommand, VmPlace
from lisa_container.microvm.shell import VmHost
from lisa_container.microvm.vm import MicroVm
from lisa_container.recording.container import ContainerCapture

# Bytes of each stream of a command that the records keep.
_MOST_RECORDED = 64 << 20
# Words of the guest's programs about a path that is not there.
_MISSING = "No such file"


class VmSession:
    """Virtual machine with commands and files, for a `with` block. All of them are root's.

    Args:
        machine: The VM, which may run already.

    Attributes:
        machine: The VM.

    >>> with VmSession(MicroVm()) as vm:
    ...     vm.run("modprobe dummy", expected_exit_code=0)
    """

    def __init__(self, machine: MicroVm) -> None:
        """Connect to nothing yet."""
        self.machine = machine
        self._log = get_logger("vm", machine.name)
        self.capture = ContainerCapture(
            machine.name, {}, _MOST_RECORDED, False, lambda: None, self._log
        )
        """Records of the commands, where a run makes some."""
        self._place = self._new_place()
        self._transport: paramiko.Transport | None = None
        self._node: Node | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> VmSession:
        """Start the VM."""
        self.machine.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the VM."""
        self.stop()

    @property
    def name(self) -> str:
        """Host name of the VM."""
        return self.machine.name

    @property
    def console(self) -> str:
        """Output of the console since the start or the last reset; also of a stopped VM."""
        return self.machine.console

    @property
    def kernel(self) -> str:
        """Version of the kernel that runs, as `uname -r` prints it."""
        return self.run("uname -r", expected_exit_code=0).stdout

    @property
    def node(self) -> Node:
        """LISA node of the VM, with a connection of its own. After a reset the VM has another one.

        Raises:
            LisaException: LISA cannot use the VM.
        """
        self.machine.check()
        if self._node is None:
            address = Address(self.machine.login_user, self.machine.address, self.machine.port)
            self._node = remote_node(address, self.machine.private_key, "")
            self._node.name = self.machine.name
        self._node.initialize()
        return self._node

    def run(
        self,
        command: str,
        stdin: Stdin = None,
        timeout: float | None = 600,
        expected_exit_code: int | None = None,
    ) -> CommandResult:
        """Run a command and wait for its end, as `ContainerExecutor.run` does.

        Exit codes are those of a shell: 127 for a program that does not exist, 128 plus the
        signal's number for one that a signal ended. Processes that the command leaves in the
        background run on; `left_processes` of the result tells of them.

        Args:
            command: Command for the VM's `sh -c`.
            stdin: Bytes, text or a binary file that the command reads.
            timeout: Seconds until the command and its descendants are killed; None means no limit.
            expected_exit_code: Raise AssertionError if the command ends with another one.

        Raises:
            CommandTimeoutError: Time was up; the error has the output so far.
            VmDiedError: The VM's QEMU has ended.
            VmPanicError: The VM's kernel panicked.
            SshLostError: The connection broke; the command may still run.
            AssertionError: The exit code was not the expected one.
        """
        request = CommandRequest.of(command, stdin=stdin, is_awaited=True)
        running = RunningCommand(self._place, request, capture=self.capture)
        result = running.wait(timeout)
        log_end(self._log, self.name, running.text, result, nohup=True)
        if expected_exit_code is not None:
            result.assert_exit_code(expected_exit_code)
        return result

    def spawn(self, command: str) -> VmCommand:
        """Start a command and return it while it runs; its stdin is open.

        Args:
            command: Command for the VM's `sh -c`.

        Raises:
            VmError: The VM did not start the command.
            SshLostError: The VM cannot be reached.
        """
        return VmCommand(self._place, command, self.capture)

    def write_file(self, path: str, content: bytes | str, mode: int = 0o644) -> None:
        """Write a file in the VM; missing folders are created.

        Args:
            path: Absolute path in the VM.
            content: Bytes or text.
            mode: Permissions of a new file.

        Raises:
            CopyError: The file cannot be written.
        """
        data = content.encode() if isinstance(content, str) else content
        quoted, folder = shlex.quote(path), shlex.quote(str(PurePosixPath(path).parent))
        script = f"umask {0o777 & ~mode:o}; cat >{quoted} && chmod {mode:o} {quoted}"
        _check(path, self._run(f"mkdir -p {folder} && {{ {script}; }}", data))

    def read_file(self, path: str) -> str:
        """Return the text of a file in the VM; also of one in /proc or /sys.

        Args:
            path: Absolute path in the VM.

        Raises:
            CopyNotFoundError: There is no such file.
            CopyError: The file cannot be read.
        """
        result = self._run(f"cat <{shlex.quote(path)}")
        _check(path, result)
        return result.stdout_bytes.decode("utf-8", "replace")

    def copy(self, local: str | Path, target: str) -> None:
        """Copy a file or folder of this machine into the VM, with modes, times and links.

        Missing folders are created. A target that ends with `/` receives the copy under its own
        name.

        Args:
            local: File or folder on this machine.
            target: Absolute path in the VM.

        Raises:
            CopyNotFoundError: `local` does not exist.
            CopyError: `local` cannot be read, or `target` cannot be written.
        """
        source = Path(local)
        if not source.exists():
            raise CopyNotFoundError(str(source), "it does not exist on this machine")
        path = PurePosixPath(target, source.name) if target.endswith("/") else PurePosixPath(target)
        folder = shlex.quote(str(path.parent))
        script = f"mkdir -p {folder} && tar -x -f - -C {folder}"
        pieces = cast("IO[bytes]", _Pieces(Packing().pack(source, path.name)))
        _check(str(path), self._run(script, pieces))

    def reset(self) -> None:
        """Bring the VM back to its beginning, also one that has panicked or died.

        Raises:
            VmBootError: The VM did not become ready; it was removed.
        """
        self.close()
        if self.machine.is_running:
            self.machine.reset()
        else:
            self.machine.stop()
            self.machine.start()

    def close(self) -> None:
        """Remove the containers that were started by way of `node`, and disconnect.

        The VM runs on, and the next command connects again.
        """
        self._place.drop()
        self._place = self._new_place()
        with self._lock:
            transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()
        node, self._node = self._node, None
        if node is None:
            return
        try:
            self.machine.check()
        except VmError:
            # With QEMU, the connections end at once: nothing waits for a guest that has died.
            self.machine.stop()
        with suppress(LisaException, OSError):
            node.cleanup()
            Engine.forget(node)
        node.close()

    def stop(self) -> None:
        """Disconnect, and remove the VM. Do nothing if that is done already."""
        self.close()
        self.machine.stop()

    def _new_place(self) -> VmPlace:
        return VmPlace(VmHost(self.machine, self._connect, self._log))

    def _connect(self) -> paramiko.Transport:
        """Return the connection for commands, which is opened if need be."""
        self.machine.check()
        with self._lock:
            if self._transport is None or not self._transport.is_active():
                self._transport = self.machine.log_in()
            return self._transport

    def _run(self, command: str, stdin: bytes | IO[bytes] | None = None) -> CommandResult:
        """Run a command that copies a file, which no record shows."""
        request = CommandRequest(command, stdin=stdin, is_awaited=True)
        return RunningCommand(self._place, request).wait()


class _Pieces:
    """Pieces of bytes as a file, of which each read returns the next one, whatever its size."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)

    def read(self, size: int) -> bytes:
        return next((piece for piece in self._pieces if piece), b"")


def _check(path: str, result: CommandResult) -> None:
    if result.exit_code == 0:
        return
    kind = CopyNotFoundError if _MISSING in result.stderr else CopyError
    raise kind(path, f"{result.stderr} (in VM '{result._id_}')")
