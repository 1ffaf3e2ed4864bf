"""Commands and files in a virtual machine, and the VM as a LISA node, over one SSH connection."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType

import paramiko
import spur
import spurplus
from lisa.node import Node
from lisa.util import LisaException
from lisa.util.shell import SshShell

from lisa_container.addresses import Address
from lisa_container.archives.pack import Packing
from lisa_container.container.result import CommandResult
from lisa_container.engine.client import Engine
from lisa_container.engine.reach import remote_node
from lisa_container.engine.ssh import ssh_shell_of, transport_of
from lisa_container.errors import CopyError, CopyNotFoundError, VmError
from lisa_container.microvm.command import VmCommand
from lisa_container.microvm.vm import MicroVm

_ROOT = "root"
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
        self._node: Node | None = None

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
        """LISA node of the VM, connected. After a reset the VM has another one.

        Raises:
            LisaException: LISA cannot use the VM.
        """
        self._transport()
        node = self._reach()
        node.initialize()
        return node

    def run(
        self,
        command: str,
        stdin: bytes | str = b"",
        timeout: float | None = 600,
        expected_exit_code: int | None = None,
    ) -> CommandResult:
        """Run a command and wait for its end, and for that of all that hold its output.

        Exit codes are those of a shell: 127 for a program that does not exist, 128 plus the
        signal's number for one that a signal ended.

        Args:
            command: Command for the VM's `sh -c`.
            stdin: Bytes or text that the command reads.
            timeout: Seconds until the command is killed; None means no limit.
            expected_exit_code: Raise AssertionError if the command ends with another one.

        Raises:
            CommandTimeoutError: Time was up; the error has the output so far.
            VmDiedError: The VM's QEMU has ended.
            VmPanicError: The VM's kernel panicked.
            SshLostError: The connection broke; the command may still run.
            AssertionError: The exit code was not the expected one.
        """
        result = self._run(command, [stdin.encode() if isinstance(stdin, str) else stdin], timeout)
        if expected_exit_code is not None:
            result.assert_exit_code(expected_exit_code)
        return result

    def spawn(self, command: str) -> VmCommand:
        """Start a command and return it while it runs; its stdin is open.

        Args:
            command: Command for the VM's `sh -c`.

        Raises:
            SshLostError: The VM cannot be reached.
        """
        return VmCommand(self.machine, self._transport(), command)

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
        _check(path, self._run(f"mkdir -p {folder} && {{ {script}; }}", [data]))

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
        _check(str(path), self._run(script, Packing().pack(source, path.name)))

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

    def _reach(self) -> Node:
        if self._node is None:
            machine = self.machine
            user = machine.user if machine.become_root else _ROOT
            address = Address(user, machine.address, machine.port)
            self._node = remote_node(address, machine.private_key, "")
            self._node.name = machine.name
            _skip_first_login(ssh_shell_of(self._node))
        return self._node

    def _transport(self) -> paramiko.Transport:
        self.machine.check()
        return transport_of(ssh_shell_of(self._reach()))

    def _run(
        self, command: str, stdin: Iterable[bytes] = (), timeout: float | None = 600
    ) -> CommandResult:
        running = self.spawn(command)
        with suppress(OSError):  # it ended early; its exit code and its output say why
            for piece in stdin:
                running.write(piece)
        running.close_stdin()
        return running.wait(timeout)


def _skip_first_login(shell: SshShell) -> None:
    """Have LISA log in once instead of twice: its first login only tells Windows from Linux.

    Without KVM a login takes up to a second.
    """
    info = shell.connection_info
    inner = spur.SshShell(
        hostname=info.address,
        port=info.port,
        username=info.username,
        private_key_file=info.private_key_file,
        missing_host_key=spur.ssh.MissingHostKey.accept,
        load_system_host_keys=False,
    )
    sftp = spurplus.sftp.ReconnectingSFTP(sftp_opener=inner._open_sftp_client)
    shell._inner_shell = spurplus.SshShell(spur_ssh_shell=inner, sftp=sftp)
    shell.is_posix = shell._is_initialized = True


def _check(path: str, result: CommandResult) -> None:
    if result.exit_code == 0:
        return
    kind = CopyNotFoundError if _MISSING in result.stderr else CopyError
    raise kind(path, f"{result.stderr} (in VM '{result._id_}')")
