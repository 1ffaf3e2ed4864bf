"""One container: its life, commands and files."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, Callable

from lisa.node import Node

from lisa_container.config import ContainerTestConfig
from lisa_container.config.model import require_config
from lisa_container.container.command import RunningCommand
from lisa_container.container.command_log import log_end
from lisa_container.container.copy import CopyLimits, copy_from, copy_to
from lisa_container.container.enter import enter_command, report_kept
from lisa_container.container.life import ContainerLife
from lisa_container.container.live import live, node_answers, note_answer
from lisa_container.container.log import read_log
from lisa_container.container.output import Output, Target
from lisa_container.container.place import ContainerPlace, shells_of
from lisa_container.container.request import Command, CommandRequest, Stdin
from lisa_container.container.result import CommandResult
from lisa_container.container.sample import take_sample
from lisa_container.container.session import SessionPool
from lisa_container.engine.client import Engine
from lisa_container.engine.installation import ensure_engine
from lisa_container.engine.lease.lease import Lease
from lisa_container.engine.waiting import bounded
from lisa_container.errors import ContainerDiedError, ContainerError, EngineError
from lisa_container.escaping import printable
from lisa_container.images import built_config, with_image
from lisa_container.masking import Plain
from lisa_container.naming import node_name
from lisa_container.recording.commands import Sample
from lisa_container.recording.container import ContainerCapture

NAME_PREFIX = "lisa_test_"

# Time limit of the removal of a container, in seconds.
_REMOVE_TIMEOUT = 60.0


class Container:
    """One long-lived container: its life, commands and files. Users make a `ContainerExecutor`.

    Args:
        node: LISA node to start the container on, local or remote.
        config: Image and settings of the container.
        name: Name of the container; `lisa_test_<8 hex digits>` by default.
    """

    def __init__(self, node: Node, config: ContainerTestConfig, name: str = "") -> None:
        """Check the config; nothing is created before `start`."""
        self.host = node
        self.config = require_config(config, "config").require_image()
        self.name = name or f"{NAME_PREFIX}{secrets.token_hex(4)}"
        self.keep = False
        """Whether `stop` leaves the container on the node, to look into it. Set it at any time."""
        self.capture = ContainerCapture(
            self.name,
            self.config.environment,
            self.config.capture_limit_bytes,
            self.config.measure,
            self._sample,
            node.log,
        )
        """Records of the container and its commands."""
        self._id = ""
        # Image to start from, if it is not the one of the config.
        self._image = ""
        self._engine: Engine | None = None
        self._life: ContainerLife | None = None
        self._lock = threading.RLock()
        self._sessions: SessionPool | None = None

    def __enter__(self) -> Container:
        """Start the container."""
        return self.start()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Remove the container, unless it is to be kept."""
        self.stop()

    def __repr__(self) -> str:
        """Return the container's name, image and node, for messages."""
        image = self.config.image or "built"
        return f"container '{self.name}' ({image}) on '{node_name(self.host)}'"

    @property
    def id(self) -> str:
        """Id of the container (64 hex digits)."""
        self._require_started()
        return self._id

    @property
    def engine(self) -> Engine:
        """Engine of the node; installed and started first where LISA can do so."""
        if self._engine is None:
            self._engine = ensure_engine(self.host)
        return self._engine

    @property
    def has_shell(self) -> bool:
        """Whether the image has `sh`; True until the container has been started."""
        return self._life is None or self._life.has_shell

    @property
    def is_started(self) -> bool:
        """Whether `start` was called and `stop` was not. The engine is not asked."""
        return bool(self._id)

    @property
    def is_running(self) -> bool:
        """Whether the container runs now and its engine answers."""
        try:
            return bool(self._id) and bool(self.inspect()["State"]["Running"])
        except EngineError:
            return False

    def start(self) -> Container:
        """Get the image, create the container and start it.

        Nothing stays on the node if one of these steps fails.

        Raises:
            ImageNotFoundError: The node does not have the image, and it cannot be pulled.
            NameTakenError: The node has another container of this name.
            ContainerStartError: The container ended at once, or was not ready in time.
            EngineError: The engine refused a setting of the config.
        """
        with self._lock:
            if self._id:
                return self
            config = self._real_config()

            def begin(config: ContainerTestConfig) -> str:
                self._life = life = ContainerLife(self.engine, config, self.name)
                live.add(self)
                # Not in this thread: a time limit or Ctrl-C arrives as an exception here, and a
                # creation must finish before its container can be removed.
                bounded(life.start, None)
                return life.id

            try:
                self._id = with_image(self.engine, config, begin)
                self._record_started(self.config.image or config.image)
                self._sessions = shells_of(self.engine, self.name)
            except BaseException:
                if self in live:
                    self._remove_for_sure()
                raise
            self.host.log.debug(f"started {self!r}")
            return self

    def _real_config(self) -> ContainerTestConfig:
        """Return the config with the image to start from; build the image first if asked for."""
        if self._image:
            return self.config.merged(image=self._image)
        return built_config(self.engine, self.config)

    def stop(self) -> None:
        """Remove the container, unless it is to be kept. Calling it again does nothing."""
        with self._lock:
            if self not in live or self._is_kept():
                return
            self._remove_for_sure()

    def stop_soon(self) -> None:
        """Have the engine begin to remove the container; `stop` must follow and waits for it."""
        with self._lock:
            if self not in live or self._life is None or self._is_kept():
                return
            try:
                self._life.remove_soon()
            except ContainerError as error:
                self.host.log.debug(f"the removal of {self!r} could not begin: {printable(error)}")

    def stop_at_exit(self) -> None:
        """Remove the container at the end of the process, without a time limit.

        From Python 3.12 on no thread can be started then, and a time limit needs one.
        """
        if not self._is_kept():
            self._remove()

    @property
    def enter_command(self) -> str:
        """Command line that opens a shell in the container, on a terminal."""
        return enter_command(self.engine, self.name)

    def run(
        self,
        command: Command,
        cwd: str | PurePath | None = None,
        update_envs: Mapping[str, str] | None = None,
        user: str = "",
        stdin: Stdin = None,
        timeout: float | None = 600,
        expected_exit_code: int | None = None,
        expected_exit_code_failure_message: str = "",
        on_stdout: Callable[[bytes], None] | None = None,
        on_stderr: Callable[[bytes], None] | None = None,
        stdout: Target | None = None,
        stderr: Target | None = None,
        keep_output: bool | None = None,
        merge_stderr: bool = False,
        nohup: bool = False,
        working_dir: str | PurePath | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> CommandResult:
        """Run a command in the container and wait for its end.

        Exit codes are those of a shell: 127 for a program that does not exist, 126 for one that
        cannot be executed, 128 plus the signal's number for one that a signal ended.

        Args:
            command: A string for the container's `sh -c`, or a sequence to run without a shell.
            cwd: Working directory; the container's own by default.
            update_envs: Environment variables to add to the container's.
            user: `name`, `uid` or `uid:gid`; the container's own by default.
            stdin: Bytes, text or a binary file that the command reads.
            timeout: Seconds until the command's process group is killed. 600 is the default of
                LISA's `execute`; None means no limit.
            expected_exit_code: Raise AssertionError if the command ends with another one.
            expected_exit_code_failure_message: Begins the message of that AssertionError.
            on_stdout: Function that gets each piece of stdout as it arrives, in another thread. An
                exception in it ends the command and is raised here.
            on_stderr: Function that gets each piece of stderr.
            stdout: Path, or file open for writing bytes, that gets stdout as it arrives.
            stderr: Path or file that gets stderr.
            keep_output: True keeps all output for the result, False only the last MiB. By default
                all output is kept unless it goes to a callback or a file.
            merge_stderr: Have the command write its stderr to its stdout.
            nohup: Do not warn about processes that the command leaves in the background. They live
                on in any case, and `left_processes` of the result tells of them.
            working_dir: Docker's word for `cwd`.
            environment: Docker's word for `update_envs`.

        Raises:
            ConfigError: One thing was given in LISA's word and in Docker's.
            CommandTimeoutError: Time was up; the error has the output so far.
            CommandNotStartedError: The working directory, the user or the shell does not exist.
            ContainerDiedError: The container died.
            SshLostError: The connection broke; the command may still run.
            EngineError: The engine failed or does not answer.
            AssertionError: The exit code was not the expected one.
        """
        running = self.start_request(
            CommandRequest.of(
                command,
                cwd=cwd,
                working_dir=working_dir,
                update_envs=update_envs,
                environment=environment,
                stdin=stdin,
                user=user,
                merge_stderr=merge_stderr and self.has_shell,
                start_timeout=timeout,
                is_awaited=True,
            ),
            Output(on_stdout, stdout, keep_output),
            Output(on_stderr, stderr, keep_output),
        )
        # After the start, so that the command does not wait for the log.
        self.host.log.debug(f"[{self.name}] {running.text!r}")
        result = running.wait(timeout)
        log_end(self.host.log, self.name, running.text, result, nohup)
        if expected_exit_code is not None:
            result.assert_exit_code(expected_exit_code, expected_exit_code_failure_message)
        return result

    def run_async(
        self,
        command: Command,
        cwd: str | PurePath | None = None,
        update_envs: Mapping[str, str] | None = None,
        user: str = "",
        stdin: Stdin = None,
        interactive: bool = False,
        on_stdout: Callable[[bytes], None] | None = None,
        on_stderr: Callable[[bytes], None] | None = None,
        stdout: Target | None = None,
        stderr: Target | None = None,
        keep_output: bool | None = None,
        merge_stderr: bool = False,
        start_timeout: float | None = None,
        working_dir: str | PurePath | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> RunningCommand:
        """Start a command and return at once.

        The arguments are those of `run`, and two more. `interactive` gives the command a stdin
        that `RunningCommand.write` feeds. `start_timeout` is the time limit, in seconds, for the
        engine to start the command.

        Raises:
            ContainerDiedError: The container does not run.
            EngineError: The engine failed or does not answer.
        """
        return self.start_request(
            CommandRequest.of(
                command,
                cwd=cwd,
                working_dir=working_dir,
                update_envs=update_envs,
                environment=environment,
                stdin=stdin,
                user=user,
                interactive=interactive,
                merge_stderr=merge_stderr and self.has_shell,
                start_timeout=start_timeout,
            ),
            Output(on_stdout, stdout, keep_output),
            Output(on_stderr, stderr, keep_output),
        )

    def use_image(self, image: str) -> None:
        """Start from another image than the config's; a running container is replaced.

        Args:
            image: Name or id of an image that the node has.

        Raises:
            EngineError: See `start`; or the old container could not be removed.
        """
        with self._lock:
            self._image = image
            if not self._id:
                return
            self._remove_for_sure()
            if self._id:
                raise EngineError(f"{self!r} could not be replaced: it could not be removed")
            self.start()

    def copy_to(self, local: str | PurePath, target: str | PurePath) -> None:
        """Copy a file or folder into the container.

        Modes, times and links are kept; the owner is the container's user. Missing folders on the
        way are made. A target that is a folder, or ends with `/`, gets the copy under its own name.

        Args:
            local: File or folder on this machine.
            target: Absolute path in the container.

        Raises:
            CopyNotFoundError: `local` does not exist.
            CopyError: `local` cannot be read, or `target` cannot be written.
            NoSpaceError: The node's disk is full.
        """
        self._require_started()
        copy_to(self.engine, self.name, Path(local), target)

    def copy_from(
        self,
        source: str | PurePath,
        local: str | PurePath,
        *,
        max_bytes: int = CopyLimits.max_bytes,
        max_entries: int = CopyLimits.max_entries,
    ) -> None:
        """Copy a file or folder out of the container.

        Modes, times and links are kept; setuid and setgid are not. An existing folder gets the copy
        under its own name. Nothing outside of that is written, whatever the container sends.

        Args:
            source: Absolute path in the container.
            local: Path on this machine; a link there is replaced, not followed.
            max_bytes: Limit of the size of all files together, in bytes.
            max_entries: Limit of the number of files, folders and links.

        Raises:
            CopyNotFoundError: `source` does not exist.
            CopyError: `source` cannot be read, `local` cannot be written, or a limit is exceeded.
        """
        self._require_started()
        limits = CopyLimits(max_bytes, max_entries)
        copy_from(self.engine, self.name, source, Path(local), limits)

    def capture_to(self, folder: str | PurePath | None) -> None:
        """Record the commands in another folder from now on.

        Args:
            folder: Gets `commands.jsonl` and `output/`. None means the default folder, which a
                container has in a run of LISA only.
        """
        self.capture.record_to(None if folder is None else Path(folder))

    def logs(self, tail: int | None = None) -> str:
        """Return the output of the container's first process.

        Args:
            tail: Number of lines at the end; all by default.

        Raises:
            LogLimitError: The log is larger than 512 MiB.
        """
        self._require_started()
        return read_log(self.engine, self.name, tail)

    def inspect(self) -> dict[str, Any]:
        """Return the engine's description of the container (Docker API, "inspect")."""
        self._require_started()
        with self.engine.errors(self.name):
            details = dict(self.engine.api.inspect_container(self.name))
        note_answer(self.engine)
        return details

    def kill(self, signal: str | int = "SIGKILL") -> None:
        """Send a signal to the container's first process; SIGKILL ends the container."""
        self._require_started()
        with self.engine.errors(self.name):
            self.engine.api.kill(self.name, signal)

    def restart(self) -> None:
        """Restart the container. Its processes end; its files stay, except those on a tmpfs."""
        self._require_started()
        assert self._life is not None
        self._life.restart()
        if self._sessions is not None:
            self._sessions.drop()

    def start_request(self, request: CommandRequest, out: Output, err: Output) -> RunningCommand:
        """Start a command that a request describes; `run_async` is for users."""
        self._require_started()
        place = ContainerPlace(self.engine, self.name, self._sessions)
        return RunningCommand(place, request, out, err, self.capture)

    def _sample(self) -> Sample | None:
        """Return what the container has used so far, or None if it cannot tell."""
        return take_sample(self.engine, self.name, self._sessions) if self.has_shell else None

    def _record_started(self, image: str) -> None:
        assert self._life is not None
        self.capture.record_start(
            id=self._id,
            node=node_name(self.host),
            engine=f"{self.engine.kind} {self.engine.version}",
            image=image,
            image_id=self._life.image_id,
            config=self.config.to_dict(),
        )
        self.capture.record_tools(self._tools())

    def _tools(self) -> list[dict[str, Any]]:
        """Return the tools that are installed in the container just started, for its record."""
        return []

    def _require_started(self) -> None:
        if not self._id:
            raise ContainerDiedError(
                self.name, node_name(self.host), "it was not started (use 'with' or start())"
            )

    def _is_kept(self) -> bool:
        """Return whether the container stays; if so, have the lease keep it and say so."""
        if not self._id or not self._wants_to_stay():
            return False
        Lease.of(self.engine).keep(self._id)
        if self._sessions is not None:
            self._sessions.drop()  # a kept container has only processes of the test
        report_kept(self, "kept")
        live.discard(self)
        return True

    def _wants_to_stay(self) -> bool:
        """Return whether the container is to stay on the node when it is stopped."""
        return self.keep

    def _remove_for_sure(self) -> None:
        """Remove the container in a thread of its own.

        A time limit or Ctrl-C arrives here as an exception, and may come again meanwhile.
        """
        try:
            bounded(self._remove, _REMOVE_TIMEOUT)
        except TimeoutError as error:
            self.host.log.warning(Plain(f"{self!r} could not be removed: {printable(error)}"))

    def _remove(self) -> None:
        if not node_answers(self.engine):
            self.host.log.warning(Plain(f"{self!r} could not be removed: the node does not answer"))
            return
        try:
            assert self._life is not None
            self._life.remove()
        except ContainerError as error:
            self.host.log.warning(Plain(f"{self!r} could not be removed: {printable(error)}"))
            return
        if self._sessions is not None:
            self._sessions.drop()
        self._id = ""
        self.capture.record_end()
        live.discard(self)
        self.host.log.debug(f"removed {self!r}")
