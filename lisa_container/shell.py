"""The shell of a container, with every operation of LISA's own shells.

LISA's tools and suites reach a node through `node.shell` (files) and through `Process` (commands,
`lisa/util/process.py`), which expects of `spawn` an object like spur's. Both are given here.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import shlex
import stat as stat_module
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Callable

import spur.results
from lisa.util import InitializableMixin, LisaException

from lisa_container.command import CommandResult
from lisa_container.errors import ContainerError, InterruptedRunError
from lisa_container.executor import ContainerExecutor

# For operations of this shell itself, in seconds.
_TIMEOUT = 60

# LISA asks every so often (seconds) whether a command runs, and sleeps in between: waiting here
# instead, a shorter one costs no more than it takes.
_POLL = 0.01

_SIGHUP, _SIGKILL = 1, 9
# A shell's exit code for a program that is not there.
_NOT_FOUND = 127

# What programs say, and what Python says for it.
_ERRORS = {
    os.strerror(number): number
    for number in (
        *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR),
        *(errno.ENOTEMPTY, errno.EROFS, errno.ENOSPC, errno.ELOOP, errno.EBUSY),
    )
}


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
        self._processes: weakref.WeakSet[ContainerProcess] = weakref.WeakSet()

    def _initialize(self, *args: Any, **kwargs: Any) -> None:
        self.executor.start()

    def close(self) -> None:
        """End what still runs as a closed SSH connection does: it gets SIGHUP, but for what was
        started with nohup. LISA closes its nodes after each case."""
        for process in list(self._processes):
            if not process.is_kept_on_close:
                process.hang_up()

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
        process = ContainerProcess(
            self,
            list(command),
            update_env or {},
            str(cwd or ""),
            stdout,
            stdout if self.merge_stderr else stderr,
            encoding or "utf-8",
        )
        self._processes.add(process)
        return process

    def mkdir(
        self, path: PurePath, mode: int = 0o777, parents: bool = True, exist_ok: bool = False
    ) -> None:
        """Create a folder, as `Path.mkdir`; where that is not allowed, as root."""
        # What this user may not see, root may.
        is_there = False
        with contextlib.suppress(PermissionError):
            is_there = self.exists(path)
        if is_there:
            if exist_ok:
                return
            raise FileExistsError(errno.EEXIST, f"it exists in {self.executor!r}", str(path))
        option = "-p" if parents else ""
        script = f'umask "$(printf %o $((0$(umask) | {~mode & 0o777})))" && mkdir {option} -- "$1"'
        self._run(["sh", "-c", script, "sh", str(path)], or_as_root=True)

    def exists(self, path: PurePath) -> bool:
        """Whether there is something at the path; a dangling link counts as nothing."""
        try:
            self.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def remove(self, path: PurePath, recursive: bool = False) -> None:
        """Remove a file, or a folder: an empty one, or with all in it. Of a link, the link. Where
        that is not allowed, as root."""
        is_dir = stat_module.S_ISDIR(self._stat(path, follow=False).st_mode)
        words = ["rm", "-f"]
        if is_dir:
            words = ["rm", "-rf"] if recursive else ["rmdir"]
        self._run([*words, "--", str(path)], or_as_root=True)

    def chmod(self, path: PurePath, mode: int) -> None:
        """Set the mode bits."""
        self._run(["chmod", f"{mode:o}", "--", str(path)])

    def stat(self, path: PurePath) -> os.stat_result:
        """As `os.stat`: a link is followed. Inode, device and link count are given too."""
        return self._stat(path, follow=True)

    def is_dir(self, path: PurePath) -> bool:
        """Whether the path is a folder, or a link to one."""
        return stat_module.S_ISDIR(self.stat(path).st_mode)

    def is_symlink(self, path: PurePath) -> bool:
        """Whether the path is a symbolic link."""
        return stat_module.S_ISLNK(self._stat(path, follow=False).st_mode)

    def symlink(self, source: PurePath, destination: PurePath) -> None:
        """Make `destination` a symbolic link to `source`."""
        # -n and -T are not known to every ln: a destination that is a folder would be entered.
        script = 'if [ -e "$2" ] || [ -h "$2" ]; then echo "File exists" >&2; exit 1; fi; '
        script += 'ln -s -- "$1" "$2"'
        self._run(["sh", "-c", script, "sh", str(source), str(destination)])

    def copy(self, local_path: PurePath, node_path: PurePath) -> None:
        """Copy a file or folder of this machine into the container."""
        self.initialize()
        self.executor.copy_to(local_path, node_path)

    def copy_back(self, node_path: PurePath, local_path: PurePath) -> None:
        """Copy a file or folder of the container to this machine."""
        self.initialize()
        self.executor.copy_from(node_path, local_path)

    def _stat(self, path: PurePath, follow: bool) -> os.stat_result:
        options = ["-L"] if follow else []
        format_ = "%f %i %d %h %u %g %s %X %Y %Z"
        words = self._run(["stat", *options, "-c", format_, "--", str(path)]).stdout.split()
        return os.stat_result([int(words[0], 16), *(int(word) for word in words[1:])])

    def _run(self, argv: list[str], or_as_root: bool = False) -> CommandResult:
        """Run a program that works on files.

        Raises:
            OSError: of the kind that Python itself would raise on the machine.
        """
        self.initialize()
        # The messages are read.
        envs = {"LC_ALL": "C"}
        result = self.executor.run(argv, user=self.user, update_envs=envs, timeout=_TIMEOUT)
        denied = _ERRORS.get("Permission denied")
        if or_as_root and result.exit_code != 0 and _errno(result.stderr) == denied:
            result = self.executor.run(argv, user="0", update_envs=envs, timeout=_TIMEOUT)
        if result.exit_code == 0:
            return result
        number = _errno(result.stderr)
        if number is None or result.exit_code == _NOT_FOUND:
            raise LisaException(
                f"{shlex.join(argv)} failed in {self.executor!r} with exit code "
                f"{result.exit_code}: {result.stderr}"
            )
        raise OSError(number, f"{result.stderr} (in {self.executor!r})", argv[-1])


def _errno(message: str) -> int | None:
    return next((number for words, number in _ERRORS.items() if words in message), None)


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
        self.is_kept_on_close = False
        """It was started with `nohup`."""
        self._encoding = encoding
        self._log = shell.executor.host.log
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
            keep_output=not self._merge,
            merge_stderr=self._merge,
        )

    @property
    def pid(self) -> int:
        """The process id on the node; 0 once it ended, or where nobody can tell."""
        with contextlib.suppress(ContainerError):
            return self._running.pid
        return 0

    def is_running(self) -> bool:
        """Whether it runs or its output is still coming. LISA asks this while it waits."""
        try:
            self._running.check_interrupt()
        except InterruptedRunError:
            self._running.kill_soon()
            raise
        return not self._running.ends_within(_POLL)

    def stdin_write(self, value: str) -> None:
        """Write to its stdin."""
        self._running.write(value.encode(self._encoding))

    def send_signal(self, signal: int) -> None:
        """Signal its whole process group."""
        if signal == _SIGKILL:
            self._running.kill()
        else:
            self._running.signal(signal)

    def hang_up(self) -> None:
        """Tell it that nobody listens any more, if it still runs."""
        with contextlib.suppress(ContainerError):
            if self._running.running:
                self._running.signal(_SIGHUP)

    def wait_for_result(self) -> Any:
        """Wait for its end; spur's kind of result."""
        result = self._running.wait(timeout=None)
        if result.oom_killed:
            self._log.warning(f"{result.cmd}: out of memory, the container's limit was reached")
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
