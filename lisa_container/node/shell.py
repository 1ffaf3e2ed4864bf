"""Shell of a container, with every operation of LISA's own shells.

LISA's tools and suites use `node.shell` for files, and `Process` (`lisa/util/process.py`) for
commands. `Process` expects `spawn` to return an object like one of spur's.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import re
import shlex
import stat as stat_module
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Callable

import spur.results
from lisa.util import InitializableMixin, LisaException

from lisa_container.container.container import Container
from lisa_container.container.copy import copy_from
from lisa_container.container.output import Output
from lisa_container.container.request import CommandRequest
from lisa_container.container.result import CommandResult
from lisa_container.errors import ContainerError, InterruptedRunError
from lisa_container.escaping import printable
from lisa_container.masking import Plain

# Time limit of the operations on files, in seconds.
_TIMEOUT = 60

# LISA sleeps between its checks whether a command still runs. Each check waits this long, in
# seconds, for the end of the command, so that a short command does not wait for LISA's sleep.
_POLL = 0.01

_SIGHUP, _SIGKILL = 1, 9
# A shell's exit code for a program that is not there.
_NOT_FOUND = 127

# Status of a file, as `stat` prints it: the mode in hexadecimal, and nine numbers.
_STATUS = re.compile(r"[0-9a-f]{1,8}( -?[0-9]{1,20}){9}")

# Messages of programs, and the error number that Python raises for the same cause.
_ERRORS = {
    os.strerror(number): number
    for number in (
        *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR),
        *(errno.ENOTEMPTY, errno.EROFS, errno.ENOSPC, errno.ELOOP, errno.EBUSY),
    )
}


class ContainerShell(InitializableMixin):
    """Shell of a container with the interface of LISA's `SshShell`.

    Args:
        executor: Container to work in.
        user: User who runs all commands; the container's own by default.
        has_terminal: Run a command on a terminal where LISA asks for one (`use_pty`), as over SSH.
            LISA does so for all commands of a remote node.
        nohup: Have all commands ignore SIGHUP, and go on when the shell closes.
    """

    is_remote = True
    is_posix = True
    spawn_timeout = 20

    def __init__(
        self,
        executor: Container,
        user: str = "",
        has_terminal: bool = True,
        nohup: bool = False,
    ) -> None:
        """Keep the arguments; the container starts with the first operation."""
        super().__init__()
        self.executor = executor
        self.user = user
        self.has_terminal = has_terminal
        self.nohup = nohup
        # Also those that LISA no longer knows.
        self._processes: list[ShellProcess] = []

    def _initialize(self, *args: Any, **kwargs: Any) -> None:
        self.executor.start()

    def close(self) -> None:
        """Send SIGHUP to running commands, as a closed SSH connection does.

        Commands that were started with `nohup` go on. LISA closes its nodes after each case.
        """
        if not self.nohup:
            for process in list(self._processes):
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
    ) -> ShellProcess:
        """Start a command, as LISA's `SshShell.spawn`."""
        self.initialize()
        has_shell = self.executor.has_shell
        request = CommandRequest(
            list(command),
            cwd=str(cwd or ""),
            environment=update_env or {},
            user=self.user,
            interactive=True,
            terminal=use_pty and self.has_terminal,
            login=has_shell,
            nohup=self.nohup and has_shell,
        )
        process = ShellProcess(self.executor, request, stdout, stderr, encoding or "utf-8")
        self._processes = [*(each for each in self._processes if each.runs), process]
        return process

    def mkdir(
        self, path: PurePath, mode: int = 0o777, parents: bool = True, exist_ok: bool = False
    ) -> None:
        """Create a folder like `Path.mkdir`; as root if the user may not create it."""
        # A folder that this user may not see is created as root below.
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
        """Return whether the path exists; a dangling link does not count."""
        try:
            self.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def remove(self, path: PurePath, recursive: bool = False) -> None:
        """Remove a file, link or folder; as root if the user may not remove it.

        Args:
            path: Path in the container.
            recursive: Remove a folder with its content; without it the folder must be empty.
        """
        is_dir = stat_module.S_ISDIR(self._stat(path, follow=False).st_mode)
        words = ["rm", "-f"]
        if is_dir:
            words = ["rm", "-rf"] if recursive else ["rmdir"]
        self._run([*words, "--", str(path)], or_as_root=True)

    def chmod(self, path: PurePath, mode: int) -> None:
        """Set the mode bits."""
        self._run(["chmod", f"{mode:o}", "--", str(path)])

    def stat(self, path: PurePath) -> os.stat_result:
        """Return the status of a file like `os.stat`, which follows a link."""
        return self._stat(path, follow=True)

    def is_dir(self, path: PurePath) -> bool:
        """Return whether the path is a folder or a link to a folder."""
        return stat_module.S_ISDIR(self.stat(path).st_mode)

    def is_symlink(self, path: PurePath) -> bool:
        """Return whether the path is a symbolic link."""
        return stat_module.S_ISLNK(self._stat(path, follow=False).st_mode)

    def symlink(self, source: PurePath, destination: PurePath) -> None:
        """Make `destination` a symbolic link to `source`."""
        # Not every ln knows -n and -T; without them it would put the link into an existing folder.
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
        executor = self.executor
        # LISA then reads the copy, and must not be led to a file of this machine.
        copy_from(executor.engine, executor.name, node_path, Path(local_path), takes_links=False)

    def _stat(self, path: PurePath, follow: bool) -> os.stat_result:
        options = ["-L"] if follow else []
        format_ = "%f %i %d %h %u %g %s %X %Y %Z"
        argv = ["stat", *options, "-c", format_, "--", str(path)]
        output = self._run(argv).stdout
        if not _STATUS.fullmatch(output):
            raise LisaException(f"{shlex.join(argv)} in {self.executor!r} printed {output[:200]!r}")
        mode, *numbers = output.split()
        return os.stat_result([int(mode, 16), *map(int, numbers)])

    def _run(self, argv: list[str], or_as_root: bool = False) -> CommandResult:
        """Run a program that works on files.

        Raises:
            OSError: The program failed; the error number is that of its message.
        """
        self.initialize()
        # English messages, for `_ERRORS`.
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


class ShellProcess:
    """Running command with the parts of spur's processes that LISA's `Process` uses."""

    def __init__(
        self,
        executor: Container,
        request: CommandRequest,
        stdout: Any,
        stderr: Any,
        encoding: str,
    ) -> None:
        """Start the command."""
        self._encoding = encoding
        self._log = executor.host.log
        self._channel = _Channel(executor)
        self._running = executor.start_request(
            request,
            Output(_text_sink(stdout, encoding), keep=True),
            Output(_text_sink(stderr, encoding), keep=True),
        )

    @property
    def pid(self) -> int:
        """Process id on the node; 0 once the command ended or if the id is unknown."""
        with contextlib.suppress(ContainerError):
            return self._running.pid
        return 0

    @property
    def runs(self) -> bool:
        """Whether the command runs; LISA polls `is_running`, which waits a little."""
        return self._running.running

    def is_running(self) -> bool:
        """Return whether the command runs or output is still coming; LISA polls this."""
        try:
            self._running.check_interrupt()
        except InterruptedRunError:
            self._running.kill_soon()
            raise
        return not self._running.ends_within(_POLL)

    def stdin_write(self, value: str) -> None:
        """Write text to the command's stdin."""
        self._running.write(value.encode(self._encoding))

    def send_signal(self, signal: int) -> None:
        """Send a signal to the command's process group."""
        if signal == _SIGKILL:
            self._running.kill()
        else:
            self._running.signal(signal)

    def hang_up(self) -> None:
        """Send SIGHUP to the command if it still runs."""
        with contextlib.suppress(ContainerError):
            if self._running.running:
                self._running.signal(_SIGHUP)

    def wait_for_result(self) -> Any:
        """Wait for the end of the command; return a result of spur."""
        result = self._running.wait(timeout=None)
        if result.oom_killed:
            self._log.warning(
                Plain(f"{printable(result.cmd)}: out of memory, the container's limit was reached")
            )
        return spur.results.result(
            return_code=result.exit_code,
            allow_error=True,
            output=result.stdout_bytes.decode(self._encoding, errors="replace"),
            stderr_output=result.stderr_bytes.decode(self._encoding, errors="replace"),
        )


class _Channel:
    """Stand-in for `process._channel`: LISA sets a keepalive on its `transport`."""

    def __init__(self, executor: Container) -> None:
        self.transport = executor.engine.dialer.keepalive_target() or self

    def set_keepalive(self, interval: int) -> None:
        """Do nothing: the socket of a local engine needs no keepalive."""


def _text_sink(writer: Any, encoding: str) -> Callable[[bytes], None] | None:
    """Return a function that decodes bytes for a writer of text.

    The decoder is incremental because a character may come in two pieces.
    """
    if writer is None:
        return None
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")

    def write(data: bytes) -> None:
        writer.write(decoder.decode(data))

    return write
