"""The shell of a container, with every operation of LISA's own shells.

LISA's tools and suites reach a node through `node.shell` (files) and through `Process` (commands,
`lisa/util/process.py`), which expects of `spawn` an object like spur's. Both are given here.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Callable

import spur.results
from lisa.util import InitializableMixin, LisaException

from lisa_container.command import CommandResult
from lisa_container.errors import InterruptedRunError
from lisa_container.executor import ContainerExecutor

# For operations of this shell itself, in seconds.
_TIMEOUT = 60


class ContainerShell(InitializableMixin):
    """A container as LISA's shells see a machine.

    Args:
        executor: of the container.
        merge_stderr: give stderr within stdout, as LISA's remote nodes do (their commands run on a
            terminal, and stock tools look for messages in stdout).
        user: run everything as this user instead of the container's own.
    """

    is_remote = True
    is_posix = True
    spawn_timeout = 20

    def __init__(self, executor: ContainerExecutor, merge_stderr: bool, user: str = "") -> None:
        super().__init__()
        self.executor = executor
        self.merge_stderr = merge_stderr
        self.user = user

    def _initialize(self, *args: Any, **kwargs: Any) -> None:
        self.executor.start()

    def close(self) -> None:
        """Nothing is held between commands."""

    @property
    def is_connected(self) -> bool:
        """Whether the container runs."""
        return self.executor.is_running

    def spawn(
        self,
        command: Sequence[str],
        update_env: Mapping[str, str] | None = None,
        store_pid: bool = False,
        cwd: str | Path | None = None,
        stdout: Any = None,
        stderr: Any = None,
        encoding: str = "utf-8",
        use_pty: bool = False,
        allow_error: bool = False,
    ) -> ContainerProcess:
        """Start a command; the arguments are those of LISA's `SshShell.spawn`."""
        self.initialize()
        return ContainerProcess(
            self,
            list(command),
            update_env or {},
            str(cwd or ""),
            stdout,
            stdout if self.merge_stderr else stderr,
            encoding or "utf-8",
        )

    def mkdir(
        self, path: PurePath, mode: int = 0o777, parents: bool = True, exist_ok: bool = False
    ) -> None:
        """Create a folder, as `Path.mkdir`."""
        if not exist_ok and self.exists(path):
            raise FileExistsError(f"{path} exists in {self.executor!r}")
        arguments = ["-p"] if parents or exist_ok else []
        self._run(["mkdir", *arguments, "-m", f"{mode:o}", str(path)])

    def exists(self, path: PurePath) -> bool:
        """Whether there is something at the path; a dangling link counts as nothing."""
        return self._test("-e", path)

    def remove(self, path: PurePath, recursive: bool = False) -> None:
        """Remove a file, or a folder: an empty one, or with all in it."""
        if recursive:
            self._run(["rm", "-rf", str(path)])
        elif self.is_dir(path) and not self.is_symlink(path):
            self._run(["rmdir", str(path)])
        else:
            self._run(["rm", str(path)])

    def chmod(self, path: PurePath, mode: int) -> None:
        """Set the mode bits."""
        self._run(["chmod", f"{mode:o}", str(path)])

    def stat(self, path: PurePath) -> os.stat_result:
        """As `os.stat`: a link is followed. Inode, device and link count are given too."""
        format_ = "%f %i %d %h %u %g %s %X %Y %Z"
        words = self._run(["stat", "-L", "-c", format_, str(path)]).stdout.split()
        return os.stat_result([int(words[0], 16), *(int(word) for word in words[1:])])

    def is_dir(self, path: PurePath) -> bool:
        """Whether the path is a folder, or a link to one."""
        return self._test("-d", path)

    def is_symlink(self, path: PurePath) -> bool:
        """Whether the path is a symbolic link."""
        return self._test("-h", path)

    def symlink(self, source: PurePath, destination: PurePath) -> None:
        """Make `destination` a symbolic link to `source`."""
        self._run(["ln", "-s", str(source), str(destination)])

    def copy(self, local_path: PurePath, node_path: PurePath) -> None:
        """Copy a file or folder of this machine into the container."""
        self.initialize()
        self.executor.copy_to(local_path, node_path)

    def copy_back(self, node_path: PurePath, local_path: PurePath) -> None:
        """Copy a file or folder of the container to this machine."""
        self.initialize()
        self.executor.copy_from(node_path, local_path)

    def _test(self, option: str, path: PurePath) -> bool:
        self.initialize()
        return self._execute(["test", option, str(path)]).exit_code == 0

    def _run(self, argv: list[str]) -> CommandResult:
        self.initialize()
        result = self._execute(argv)
        if result.exit_code != 0:
            kind = FileNotFoundError if "No such file" in result.stderr else LisaException
            raise kind(f"{' '.join(argv)} failed in {self.executor!r}: {result.stderr}")
        return result

    def _execute(self, argv: list[str]) -> CommandResult:
        return self.executor.run(argv, user=self.user, timeout=_TIMEOUT)


class ContainerProcess:
    """A running command, with what LISA's `Process` uses of spur's processes."""

    def __init__(
        self,
        shell: ContainerShell,
        argv: list[str],
        environment: Mapping[str, str],
        cwd: str,
        stdout: Any,
        stderr: Any,
        encoding: str,
    ) -> None:
        self._encoding = encoding
        self._merged = bytearray()
        self._merge = shell.merge_stderr
        self._channel = _Channel(shell.executor)
        to_stdout, to_stderr = _text_sink(stdout, encoding), _text_sink(stderr, encoding)
        self._running = shell.executor.run_async(
            argv,
            cwd=cwd,
            update_envs=environment,
            user=shell.user,
            interactive=True,
            on_stdout=self._keep(to_stdout),
            on_stderr=self._keep(to_stderr),
        )

    @property
    def pid(self) -> int:
        """The process id on the node; 0 once it ended."""
        return self._running.pid

    def is_running(self) -> bool:
        """Whether it runs or its output is still coming. LISA asks this while it waits."""
        try:
            self._running.check_interrupt()
        except InterruptedRunError:
            self._running.kill()
            raise
        return self._running.running

    def stdin_write(self, value: str) -> None:
        """Write to its stdin."""
        self._running.write(value.encode(self._encoding))

    def send_signal(self, signal: int) -> None:
        """Signal its whole process group."""
        self._running.signal(signal)

    def wait_for_result(self) -> Any:
        """Wait for its end; spur's kind of result."""
        result = self._running.wait(timeout=None)
        stdout = bytes(self._merged) if self._merge else result.stdout_bytes
        stderr = b"" if self._merge else result.stderr_bytes
        return spur.results.result(
            return_code=result.exit_code,
            allow_error=True,
            output=stdout.decode(self._encoding, errors="replace"),
            stderr_output=stderr.decode(self._encoding, errors="replace"),
        )

    def _keep(self, sink: Callable[[bytes], None] | None) -> Callable[[bytes], None]:
        def both(data: bytes) -> None:
            if self._merge:
                self._merged.extend(data)
            if sink is not None:
                sink(data)

        return both


class _Channel:
    """LISA sets a keepalive on `process._channel.transport` of remote commands."""

    def __init__(self, executor: ContainerExecutor) -> None:
        self.transport = executor.engine.dialer.keepalive_target() or self

    def set_keepalive(self, interval: int) -> None:
        """A local engine's socket needs none."""


def _text_sink(writer: Any, encoding: str) -> Callable[[bytes], None] | None:
    """Feed bytes to a writer of text; a character may come in two pieces."""
    if writer is None:
        return None
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")

    def write(data: bytes) -> None:
        writer.write(decoder.decode(data))

    return write
