"""One long-lived container on a node, to run commands in."""

from __future__ import annotations

import secrets
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Callable

from lisa.node import Node
from lisa.util import constants

from lisa_container.capture.commands import SAMPLE, Sample, parse
from lisa_container.capture.container import ContainerCapture
from lisa_container.capture.evidence import collect
from lisa_container.command import Command, CommandResult, RunningCommand, Stdin
from lisa_container.config import ContainerTestConfig
from lisa_container.config.checks import globs
from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.engine.client import Engine
from lisa_container.engine.dial import is_reachable
from lisa_container.engine.lease.lease import Lease
from lisa_container.engine.life import ContainerLife
from lisa_container.engine.naming import node_name
from lisa_container.engine.waiting import bounded
from lisa_container.errors import ConfigError, ContainerDiedError, ContainerError, EngineError
from lisa_container.images import built_config, with_image
from lisa_container.output import Output, Target
from lisa_container.session import SessionPool
from lisa_container.transfer import copy_from, copy_to

if TYPE_CHECKING:
    from lisa_container.install import InstalledTool, PackageSettings, Tool
    from lisa_container.node import ContainerNode

NAME_PREFIX = "lisa_test_"

# How long (seconds) the removal of a container may take before nobody waits for it any more.
_REMOVE_TIMEOUT = 60.0
# How long (seconds) a look at what a container uses may take.
_SAMPLE_TIMEOUT = 5.0
# From which duration (seconds) on the end of a command gets a line of its own in the log.
_LOGGED = 1.0


class ContainerExecutor:
    """Runs commands in one long-lived container; a context manager.

        with ContainerExecutor(node, ContainerTestConfig(image="debian:12")) as container:
            container.run("uname -r").stdout

    Args:
        node: the LISA node to start it on, local or remote.
        config: what the container shall be.
        name: its name; `lisa_test_<8 hex>` by default.
    """

    def __init__(self, node: Node, config: ContainerTestConfig, name: str = "") -> None:
        self.host = node
        self.config = config.require_image()
        self.name = name or f"{NAME_PREFIX}{secrets.token_hex(4)}"
        self.keep = False
        """Set to leave the container behind at the end, to look into it."""
        self.is_spare = False
        """No case has used it; then nobody wants to look into it either."""
        self.installed: list[InstalledTool] = []
        """What `install` has put into the container, for the artifacts."""
        self.capture = ContainerCapture(
            self.name,
            self.config.environment,
            self.config.capture_limit_bytes,
            self.config.measure,
            self._sample,
            node.log,
        )
        """Records what happens in the container."""
        self._id = ""
        # The image to start from, where it is not the config's own.
        self._image = ""
        self._engine: Engine | None = None
        self._life: ContainerLife | None = None
        self._node: ContainerNode | None = None
        self._lock = threading.RLock()
        self._sessions: SessionPool | None = None

    def __enter__(self) -> ContainerExecutor:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        image = self.config.image or "built"
        return f"container '{self.name}' ({image}) on '{node_name(self.host)}'"

    @property
    def id(self) -> str:
        """The engine's id of the container (64 hex digits)."""
        self._require_started()
        return self._id

    @property
    def engine(self) -> Engine:
        """The engine of the node; installed and started first where LISA knows how."""
        if self._engine is None:
            with _tools_locks_lock:
                lock = _tools_locks.setdefault(self.host, threading.Lock())
            with lock:  # LISA makes a tool twice where two threads ask for it at once
                self._engine = self.host.tools[DockerAdvanced].engine
        return self._engine

    @property
    def has_shell(self) -> bool:
        """Whether the image has `sh`; known once the container was started."""
        return self._life is None or self._life.has_shell

    @property
    def is_started(self) -> bool:
        """Whether it was started and not stopped since; nothing is asked of the engine."""
        return bool(self._id)

    @property
    def node(self) -> ContainerNode:
        """The container as a LISA node: `execute`, tools, package installs, file copies."""
        self._require_started()
        with self._lock:
            if self._node is None:
                from lisa_container.node import ContainerNode  # it needs this module itself

                self._node = ContainerNode.of(self)
            return self._node

    @property
    def node_or_none(self) -> ContainerNode | None:
        """The node, if anybody has asked for it."""
        return self._node

    @property
    def keep_environment(self) -> str:
        """What the platform's runbook says: keep the environment `no`, `failed` or `always`."""
        features = getattr(self.host, "features", None)
        runbook = features._platform.runbook if features is not None else None
        return str(getattr(runbook, "keep_environment", constants.ENVIRONMENT_KEEP_NO))

    @property
    def is_running(self) -> bool:
        """Whether the container runs now and can be reached."""
        try:
            return bool(self._id) and bool(self.inspect()["State"]["Running"])
        except EngineError:
            return False

    def start(self) -> ContainerExecutor:
        """Get the image, create the container and start it. Nothing stays behind where one fails.

        Raises:
            ImageNotFoundError: the image is not on the node and could not be pulled.
            NameTakenError: a container of that name is there.
            ContainerDiedError: it started and ended at once.
            EngineError: the engine refused something of the config.
        """
        with self._lock:
            if self._id:
                return self
            config = self._real_config()
            self.installed = [tool for tool in self.installed if tool.layer]

            def begin(config: ContainerTestConfig) -> str:
                self._life = life = ContainerLife(self.engine, config, self.name)
                _live.add(self)
                # Not in this thread: what ends a case comes as an exception, and a creation that
                # was asked for must come to its end before its container can be removed.
                bounded(life.start, None)
                return life.id

            try:
                self._id = with_image(self.engine, config, begin)
                self._tell_started(self.config.image or config.image)
                self._sessions = SessionPool(self.engine, self.name)
            except BaseException:
                if self in _live:
                    self._remove_for_sure()
                raise
            self.host.log.debug(f"started {self!r}")
            return self

    def _real_config(self) -> ContainerTestConfig:
        """The config with the image to start from, built first where that is asked for."""
        if self._image:
            return self.config.merged(image=self._image)
        return built_config(self.engine, self.config)

    def stop(self) -> None:
        """Remove the container, unless it is to be kept. Harmless when it is gone already."""
        with self._lock:
            if self not in _live or self._is_kept():
                return
            self._remove_for_sure()

    def stop_soon(self) -> None:
        """Have the engine begin to remove the container; `stop` must follow, and sees it gone."""
        with self._lock:
            if self not in _live or self._life is None or self._is_kept():
                return
            try:
                self._life.remove_soon()
            except ContainerError as error:
                self.host.log.debug(f"the removal of {self!r} could not begin: {error}")

    def stop_at_exit(self) -> None:
        """As `stop`, at the end of the process: from Python 3.12 on, no thread can be started then,
        and without one nobody can say how long it may take."""
        if not self._is_kept():
            self._remove()

    @property
    def enter_command(self) -> str:
        """What to type to get into the container by hand."""
        # Who opens the engine's socket himself needs no sudo for it either.
        sudo = "" if self.engine.dialer.name in ("unix", "streamlocal") else "sudo "
        command = f"{sudo}{self.engine.kind} exec -it {self.name} sh"
        info = getattr(self.host, "connection_info", None)
        if not info:
            return command
        return f"ssh -t -p {info['port']} {info['username']}@{info['address']} {command}"

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
    ) -> CommandResult:
        """Run a command in the container and wait for it.

        Args:
            command: a string for the container's `sh -c`, or a sequence run without any shell.
            cwd: working directory; the container's own by default.
            update_envs: environment variables, added to the container's.
            user: `name`, `uid` or `uid:gid`; the container's own by default.
            stdin: bytes, text or a binary file to feed.
            timeout: seconds; then its process group is killed. 600 by default, as LISA's `execute`;
                None is no limit.
            expected_exit_code: fail unless the command ends with it.
            expected_exit_code_failure_message: begins the message of that failure.
            on_stdout: called with each piece of stdout as it comes, in another thread. What it
                raises ends the command and is raised here.
            on_stderr: the same for stderr.
            stdout: a path, or a file open for writing in binary mode, that gets stdout as it comes.
            stderr: the same for stderr.
            keep_output: keep a stream whole for the result also where it goes to a callback or a
                file (True), or never more than its last MiB (False). By default the former for what
                goes nowhere else, the latter for what does, so that memory does not grow with it.
            merge_stderr: have it write stderr to its stdout, in the order in which it writes.
            nohup: processes that it leaves in the background are intended. Otherwise the log warns
                of them; they live on in any case. The result's `left_processes` tells.

        A program that is not there gives exit code 127, one that may not be executed 126, one that
        a signal ended 128 and its number, as with a shell.

        Raises:
            CommandTimeoutError: time was up; what it printed so far is in the error.
            CommandNotStartedError: there is no such working directory or user, or no shell.
            ContainerDiedError: the container died below it.
            SshLostError: the connection broke; the command may still run.
            EngineError: the engine failed, or does not answer.
            AssertionError: the exit code was not the expected one.
        """
        running = self._start(
            command,
            cwd=cwd,
            update_envs=update_envs,
            user=user,
            stdin=stdin,
            stdout=Output(on_stdout, stdout, keep_output),
            stderr=Output(on_stderr, stderr, keep_output),
            merge_stderr=merge_stderr,
            start_timeout=timeout,
            is_awaited=True,
        )
        # While it runs, so that nobody waits for the log.
        self.host.log.debug(f"[{self.name}] {running.text!r}")
        result = running.wait(timeout)
        if result.left_processes and not nohup:
            self.host.log.warning(
                f"[{self.name}] {running.text!r} left processes in the background; pass nohup=True "
                "where that is intended"
            )
        if result.exit_code or result.elapsed > _LOGGED:
            self.host.log.debug(
                f"[{self.name}] exit code {result.exit_code} after {result.elapsed:.3f} s: "
                f"{running.text!r}"
            )
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
    ) -> RunningCommand:
        """Start a command and return at once; see `run` for the arguments.

        Args:
            interactive: give the command a stdin that `RunningCommand.write` feeds.
            start_timeout: seconds the engine may take to start it.

        Raises:
            ContainerDiedError: the container does not run.
            EngineError: the engine failed, or does not answer.
        """
        return self._start(
            command,
            cwd=cwd,
            update_envs=update_envs,
            user=user,
            stdin=stdin,
            interactive=interactive,
            stdout=Output(on_stdout, stdout, keep_output),
            stderr=Output(on_stderr, stderr, keep_output),
            merge_stderr=merge_stderr,
            start_timeout=start_timeout,
        )

    def install(
        self,
        *tools: Tool | str | Mapping[str, Any],
        cached: bool = False,
        settings: PackageSettings | None = None,
        timeout: float = 1800,
    ) -> list[InstalledTool]:
        """Have tools in the container, installed by package managers and verified.

            container.install(Tool("jq", version="1.6"), Tool("httpie", via="pip", command="http"))

        Args:
            tools: each a `Tool`, or a package's name alone, or a mapping of a tool's fields.
            cached: keep the tools as an image on the node, from which the next time nothing has to
                be installed. The container is then replaced by a new one with them; nothing may
                have been changed in it. It may be given before `start`, too.
            settings: proxies, indexes, certificates and credentials for the package managers, lent
                to the container meanwhile; those of the node by default.
            timeout: seconds that one command of a manager may take.

        Returns:
            What was installed; `installed` has it, too.

        Raises:
            ConfigError: a tool is described wrongly; nothing was done.
            ToolError: or one of its kinds (`lisa_container.install`): a tool could not be had.
            EngineError: the engine failed, or does not answer.
        """
        from lisa_container.install.work import install  # it needs this module itself

        return install(self, tools, cached, settings, timeout)

    def take_image(self, image: str) -> None:
        """Go on with another image than the config's; a running container is replaced by a new one.

        Args:
            image: a name or id that the node has.

        Raises:
            EngineError: see `start`; or the old container could not be removed.
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
        """Copy a file or folder into the container, a chunk at a time.

        Modes, times and links are kept; the owner is the container's user. Folders on the way are
        made. A target that ends with `/` or is a folder receives the copy under its own name.

        Args:
            local: file or folder on this machine.
            target: absolute path in the container.

        Raises:
            CopyNotFoundError: it is not there.
            CopyError: it cannot be read, or not be written in the container.
            NoSpaceError: the node's disk is full.
        """
        self._require_started()
        copy_to(self.engine, self.name, Path(local), target)

    def copy_from(self, source: str | PurePath, local: str | PurePath) -> None:
        """Copy a file or folder out of the container, a chunk at a time.

        Modes, times and links are kept. An existing folder receives the copy under its own name.
        Nothing outside of that is written, whatever the container has in it.

        Args:
            source: absolute path in the container.
            local: path on this machine.

        Raises:
            CopyNotFoundError: it is not there.
            CopyError: it cannot be read, or not be written here.
        """
        self._require_started()
        copy_from(self.engine, self.name, source, Path(local))

    def collect(self, patterns: Sequence[str], folder: str | PurePath | None = None) -> list[Path]:
        """Copy files to the artifacts, by patterns.

            container.collect(["/var/log/**/*.log", "/etc/os-release"])

        A pattern that nothing matches, and a file that is larger than 256 MiB, gets a warning in
        the log.

        Args:
            patterns: absolute paths; `*` and `?` stand for anything but a slash, `**` for any
                number of folders, `[…]` for one of some letters. A folder stands for all files in
                it.
            folder: they go to `files/<their path>` in it; that of the case, or of the container, by
                default.

        Returns:
            The copies.

        Raises:
            ConfigError: a pattern is wrong; or there is no folder, as this is no run of LISA.
            EngineError: the engine does not answer.
            OSError: a copy cannot be written.
        """
        patterns = globs("patterns", patterns)
        target = self.capture.folder if folder is None else Path(folder)
        if target is None:
            raise ConfigError(
                "folder: none is given, and there is no run of LISA to have one; legal: a folder "
                "for the copies, or capture_to(folder) before"
            )
        self._require_started()
        log, name = self.host.log, self.name
        return collect(
            self.engine,
            name,
            patterns,
            target,
            self.capture.masking,
            lambda message: log.warning(f"[{name}] {message}"),
        )

    def capture_to(self, folder: str | PurePath | None) -> None:
        """Record the commands in another folder from now on.

        Args:
            folder: gets `commands.jsonl` and `output/`; None: the one by default, which a container
                has in a run of LISA only.
        """
        self.capture.to(None if folder is None else Path(folder))

    def logs(self, tail: int | None = None) -> str:
        """What the container's first process wrote.

        Args:
            tail: only so many lines of the end.
        """
        self._require_started()
        with self.engine.errors(self.name):
            data: bytes = self.engine.api.logs(self.name, tail="all" if tail is None else tail)
        return data.decode("utf-8", errors="replace")

    def inspect(self) -> dict[str, Any]:
        """All the engine knows of the container."""
        self._require_started()
        with self.engine.errors(self.name):
            found = dict(self.engine.api.inspect_container(self.name))
        _answered[self.host] = time.monotonic()
        return found

    def kill(self, signal: str | int = "SIGKILL") -> None:
        """Send a signal to the container's first process; by default it and all in it end."""
        self._require_started()
        with self.engine.errors(self.name):
            self.engine.api.kill(self.name, signal)

    def restart(self) -> None:
        """Restart the container: all processes in it end, its files stay (but for a tmpfs)."""
        self._require_started()
        assert self._life is not None
        self._life.restart()
        if self._sessions is not None:
            self._sessions.drop()

    def _start(
        self,
        command: Command,
        cwd: str | PurePath | None,
        update_envs: Mapping[str, str] | None,
        merge_stderr: bool,
        **options: Any,
    ) -> RunningCommand:
        self._require_started()
        return RunningCommand(
            self.engine,
            self.name,
            command,
            cwd=str(cwd or ""),
            environment=update_envs,
            merge_stderr=merge_stderr and self.has_shell,
            sessions=self._sessions,
            capture=self.capture,
            **options,
        )

    def _sample(self) -> Sample | None:
        """What the container has used so far."""
        if not self.has_shell:
            return None
        try:
            running = RunningCommand(
                self.engine,
                self.name,
                SAMPLE,
                start_timeout=_SAMPLE_TIMEOUT,
                sessions=self._sessions,
                is_awaited=True,
            )
            return parse(running.wait(_SAMPLE_TIMEOUT).stdout)
        except ContainerError:
            return None  # that it died, or its node is lost, its commands tell

    def _tell_started(self, image: str) -> None:
        assert self._life is not None
        self.capture.started(
            id=self._id,
            node=node_name(self.host),
            engine=f"{self.engine.kind} {self.engine.version}",
            image=image,
            image_id=self._life.image_id,
            config=self.config.to_dict(),
        )
        # Those of its image were installed before.
        self.capture.tools([tool.to_dict() for tool in self.installed])

    def _require_started(self) -> None:
        if not self._id:
            raise ContainerDiedError(
                self.name, node_name(self.host), "it was not started (use 'with' or start())"
            )

    def _is_kept(self) -> bool:
        always = not self.is_spare and self.keep_environment == constants.ENVIRONMENT_KEEP_ALWAYS
        if not self._id or not (self.keep or always):
            return False
        Lease.of(self.engine).keep(self._id)
        self.host.log.info(f"kept {self!r}; enter it with: {self.enter_command}")
        _live.discard(self)
        return True

    def _remove_for_sure(self) -> None:
        """In a thread of its own: what ends a case (its timeout, Ctrl-C) comes as an exception, and
        may come again while we clean up."""
        try:
            bounded(self._remove, _REMOVE_TIMEOUT)
        except TimeoutError as error:
            self.host.log.warning(f"{self!r} could not be removed: {error}")

    def _remove(self) -> None:
        if not _answers(self.host):
            self.host.log.warning(f"{self!r} could not be removed: the node does not answer")
            return
        try:
            assert self._life is not None
            self._life.remove()
        except ContainerError as error:
            self.host.log.warning(f"{self!r} could not be removed: {error}")
            return
        if self._sessions is not None:
            self._sessions.drop()
        self._id = ""
        self.capture.ended()
        _live.discard(self)
        self.host.log.debug(f"removed {self!r}")


# A hundred containers may be removed at once, and sshd starts a process for each that asks whether
# the node answers: its answer counts for this long (seconds).
_ANSWER_AGE = 2.0
_answered: weakref.WeakKeyDictionary[Node, float] = weakref.WeakKeyDictionary()


def _answers(node: Node) -> bool:
    if time.monotonic() - _answered.get(node, -_ANSWER_AGE) < _ANSWER_AGE:
        return True
    found = is_reachable(node)
    if found:
        _answered[node] = time.monotonic()
    return found


_tools_locks: weakref.WeakKeyDictionary[Node, threading.Lock] = weakref.WeakKeyDictionary()
_tools_locks_lock = threading.Lock()

# Executors whose container may exist. What LISA did not clean up is removed when the process ends.
_live: set[ContainerExecutor] = set()


def live_executors() -> list[ContainerExecutor]:
    """Those whose container may exist."""
    return list(_live)


def release_lease(node: Node) -> None:
    """End this run's lease on a node, unless a container of an executor is still there.

    Args:
        node: whose environment is being cleaned up.
    """
    lease = Lease.found(node)
    if lease is not None and not any(executor.host is node for executor in live_executors()):
        lease.release()
