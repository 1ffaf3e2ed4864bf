"""One long-lived container on a node, to run commands in."""

from __future__ import annotations

import atexit
import secrets
import tarfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Callable

from lisa.node import Node
from lisa.util import constants

from lisa_container.command import Command, CommandResult, RunningCommand, Stdin
from lisa_container.config import ContainerTestConfig
from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.engine.archive import pack_bytes
from lisa_container.engine.client import Engine
from lisa_container.engine.create import create_container, soften
from lisa_container.engine.dial import is_reachable
from lisa_container.engine.exec import death_of
from lisa_container.engine.keepalive import ENTRYPOINTS, PAUSE, PAUSE_PATH, SHELL, pause_program
from lisa_container.engine.naming import node_name
from lisa_container.engine.options import create_body
from lisa_container.errors import ContainerDiedError, EngineError
from lisa_container.images import ensure_image
from lisa_container.transfer import copy_from, copy_to

if TYPE_CHECKING:
    from lisa_container.node import ContainerNode

NAME_PREFIX = "lisa_test_"

_TOKEN_LABEL = "lisa_container.executor"

# The engine's words for "the entrypoint is not in the image" (runc, crun).
_NO_PROGRAM = ("executable file not found", "no such file or directory", "not found in $path")


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
        self._id = ""
        self._engine: Engine | None = None
        self._node: ContainerNode | None = None
        self._lock = threading.RLock()
        # On the container as a label: tells ours from one of the same name, also where the answer
        # to the creation was lost.
        self._token = secrets.token_hex(8)

    def __enter__(self) -> ContainerExecutor:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"container '{self.name}' ({self.config.image}) on '{self.engine.name}'"

    @property
    def id(self) -> str:
        """The engine's id of the container (64 hex digits)."""
        self._require_started()
        return self._id

    @property
    def engine(self) -> Engine:
        """The engine of the node; installed and started first where LISA knows how."""
        if self._engine is None:
            self._engine = self.host.tools[DockerAdvanced].engine
        return self._engine

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
        """Whether the container runs now."""
        return bool(self._id) and death_of(self.engine, self.name) is None

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
            ensure_image(self.engine, self.config)
            _live.add(self)
            try:
                self._id = self._create_and_start()
            except BaseException:
                self._remove()
                raise
            self.host.log.debug(f"started {self!r}")
            return self

    def stop(self) -> None:
        """Remove the container, unless it is to be kept. Harmless when it is gone already."""
        with self._lock:
            always = self.keep_environment == constants.ENVIRONMENT_KEEP_ALWAYS
            if self._id and (self.keep or always):
                self.host.log.info(f"kept {self!r}; enter it with: {self.enter_command}")
                _live.discard(self)
                return
            self._remove()

    @property
    def enter_command(self) -> str:
        """What to type to get into the container by hand."""
        command = f"{self.engine.kind} exec -it {self.name} sh"
        info = getattr(self.host, "connection_info", None)
        if not info:
            return f"sudo {command}"
        return f"ssh -t -p {info['port']} {info['username']}@{info['address']} sudo {command}"

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
    ) -> CommandResult:
        """Run a command in the container and wait for it.

        Args:
            command: a string for the container's `sh -c`, or a sequence run without any shell.
            cwd: working directory; the container's own by default.
            update_envs: environment variables, added to the container's.
            user: `name`, `uid` or `uid:gid`; the container's own by default.
            stdin: bytes, text or a binary file to feed.
            timeout: seconds; then its process group is killed. 600 by default, as LISA's `execute`.
            expected_exit_code: fail unless the command ends with it.
            expected_exit_code_failure_message: begins the message of that failure.
            on_stdout: called with each piece of stdout as it comes.
            on_stderr: the same for stderr.

        Raises:
            CommandTimeoutError: time was up; what it printed so far is in the error.
            ContainerDiedError: the container died below it.
            SshLostError: the connection broke; the command may still run.
            AssertionError: the exit code was not the expected one.
        """
        running = self.run_async(
            command,
            cwd=cwd,
            update_envs=update_envs,
            user=user,
            stdin=stdin,
            on_stdout=on_stdout,
            on_stderr=on_stderr,
        )
        result = running.wait(timeout)
        self.host.log.debug(
            f"[{self.name}] {running.text!r} exit code {result.exit_code}, {result.elapsed:.3f} s"
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
    ) -> RunningCommand:
        """Start a command and return at once; see `run` for the arguments.

        Args:
            interactive: give the command a stdin that `RunningCommand.write` feeds.
        """
        self._require_started()
        return RunningCommand(
            self.engine,
            self.name,
            command,
            cwd=str(cwd or ""),
            environment=update_envs,
            user=user,
            stdin=stdin,
            interactive=interactive,
            on_stdout=on_stdout,
            on_stderr=on_stderr,
        )

    def copy_to(self, local: str | PurePath, target: str | PurePath) -> None:
        """Copy a file or folder into the container, a chunk at a time.

        Modes and symbolic links are kept; the owner is the container's user. Folders on the way are
        made. A target that ends with `/` or is a folder receives the copy under its own name.

        Args:
            local: file or folder on this machine.
            target: absolute path in the container.

        Raises:
            CopyError: it cannot be read, or the path in the container is not absolute.
        """
        self._require_started()
        copy_to(self.engine, self.name, Path(local), target, self.config.user)

    def copy_from(self, source: str | PurePath, local: str | PurePath) -> None:
        """Copy a file or folder out of the container, a chunk at a time.

        Modes and symbolic links are kept. An existing folder receives the copy under its own name.

        Args:
            source: absolute path in the container.
            local: path on this machine.

        Raises:
            CopyError: it is not there, or cannot be written here.
        """
        self._require_started()
        copy_from(self.engine, self.name, source, Path(local))

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
            return dict(self.engine.api.inspect_container(self.name))

    def kill(self, signal: str | int = "SIGKILL") -> None:
        """Send a signal to the container's first process; by default it and all in it end."""
        self._require_started()
        with self.engine.errors(self.name):
            self.engine.api.kill(self.name, signal)

    def restart(self) -> None:
        """Restart the container: all processes in it end, its files stay."""
        self._require_started()
        with self.engine.errors(self.name):
            self.engine.api.restart(self.name, timeout=0)
        self._wait_running()

    def _require_started(self) -> None:
        if not self._id:
            raise ContainerDiedError(
                self.name, node_name(self.host), "it was not started (use 'with' or start())"
            )

    def _create_and_start(self) -> str:
        body = create_body(self.engine, self.config)
        body["Labels"][_TOKEN_LABEL] = self._token
        host = body["HostConfig"]
        host["Init"] = True
        entrypoints = list(ENTRYPOINTS)
        while True:
            body["Entrypoint"], body["Cmd"] = entrypoints[0], []
            body["OpenStdin"] = entrypoints[0] == SHELL
            try:
                container = create_container(self.engine, body, self.name)
                with self.engine.errors(self.name, self.config.image):
                    if entrypoints[0] == PAUSE:
                        self._put_pause()
                    self.engine.api.start(container)
                self._id = container
                self._wait_running()
                return container
            except EngineError as error:
                lacks_program = any(words in str(error).lower() for words in _NO_PROGRAM)
                self._remove()
                if soften(self.engine, host, error):
                    continue
                if not lacks_program or len(entrypoints) == 1:
                    raise
                entrypoints.pop(0)  # the image has no such program: try the next

    def _put_pause(self) -> None:
        architecture = str(self.engine.api.info()["Architecture"])
        program = pause_program(architecture)
        if program is None:
            raise EngineError(
                f"image '{self.config.image}' has neither 'sleep' nor 'sh', and there is no "
                f"substitute for {architecture}: use an image that has one of them"
            )
        info = tarfile.TarInfo(PAUSE_PATH.lstrip("/"))
        info.mode = 0o755
        self.engine.api.put_archive(self.name, "/", pack_bytes([(info, program)]))

    def _wait_running(self) -> None:
        deadline = time.monotonic() + self.config.startup_timeout
        while True:
            with self.engine.errors(self.name):
                state = self.engine.api.inspect_container(self.name)["State"]
            if state["Running"]:
                return
            if state.get("Status") in ("exited", "dead"):
                reason = f"it ended at once with exit code {state.get('ExitCode')}"
                raise ContainerDiedError(self.name, self.engine.name, reason)
            if time.monotonic() > deadline:
                raise ContainerDiedError(
                    self.name,
                    self.engine.name,
                    f"it did not start in {self.config.startup_timeout:g} seconds "
                    f"(startup_timeout); its state is {state}",
                )
            time.sleep(0.02)

    def _remove(self) -> None:
        try:
            with self.engine.errors(self.name):
                found = self.engine.api.inspect_container(self.name)
                if found["Config"]["Labels"].get(_TOKEN_LABEL) == self._token:
                    self.engine.api.remove_container(found["Id"], v=True, force=True)
        except EngineError as error:
            if "no such container" not in str(error).lower():
                self.host.log.warning(f"{self!r} could not be removed: {error}")
                return
        self._id = ""
        _live.discard(self)
        self.host.log.debug(f"removed {self!r}")


# Executors whose container may exist. What LISA did not clean up is removed when the process ends.
_live: set[ContainerExecutor] = set()


@atexit.register
def _remove_left_overs() -> None:
    for executor in list(_live):
        if is_reachable(executor.host):
            executor.stop()
