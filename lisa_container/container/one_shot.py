"""One command in a new container, as `docker run`."""

from __future__ import annotations

import secrets
import shlex
import time
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from lisa_container.config import ContainerTestConfig
from lisa_container.config.checks import require_encodable
from lisa_container.container import interrupt
from lisa_container.container.create import create_container, drop_unsupported
from lisa_container.container.ends import end_for_sure
from lisa_container.container.main_process import MainProcess
from lisa_container.container.options import create_body
from lisa_container.container.other import OtherContainer
from lisa_container.container.request import Command, either, to_argv
from lisa_container.container.result import CommandResult
from lisa_container.container.state import death_of
from lisa_container.container.volumes import find_missing
from lisa_container.engine.client import Engine
from lisa_container.engine.containerd import ContainerdWait
from lisa_container.engine.waiting import wait_for
from lisa_container.errors import (
    CommandNotStartedError,
    CommandTimeoutError,
    ConfigError,
    EngineError,
    KilledCommandError,
)
from lisa_container.escaping import printable
from lisa_container.images import built_config, ensure_image
from lisa_container.masking import KNOWN, Plain, protect, secret_values, secrets_in_command
from lisa_container.recording.commands import CommandCapture, CommandDescription
from lisa_container.recording.files import run_folder

# Label of the container of one call, which finds it if the answer to its creation was lost.
_TOKEN_LABEL = "lisa_container.call"


def run_in_new_container(
    engine: Engine,
    config: ContainerTestConfig,
    command: Command | None,
    name: str | None,
    *,
    remove: bool,
    detach: bool,
    cwd: str | PurePath | None = None,
    working_dir: str | PurePath | None = None,
    update_envs: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    user: str = "",
    timeout: float | None = 600,
    expected_exit_code: int | None = None,
    **others: Any,
) -> CommandResult:
    """Run a command in a new container.

    Args:
        engine: Engine of the node.
        config: Config of the container.
        command: See `ContainerRun`.
        name: Name of the container; None means the engine's choice.
        remove: Remove the container when it ends.
        detach: Return at once, with the container's id as stdout.
        cwd: Working directory, in LISA's word.
        working_dir: Working directory, in Docker's word.
        update_envs: Environment variables to add, in LISA's word.
        environment: Environment variables to add, in Docker's word.
        user: `name`, `uid` or `uid:gid`; the config's by default.
        timeout: Seconds until the container is killed; None means no limit.
        expected_exit_code: Raise AssertionError if the command ends with another one.
        others: Arguments that only a command in a running container can have: they are refused.

    Raises:
        ConfigError: An argument is wrong; nothing was created.
        EngineError: See `ContainerRun`.
        AssertionError: The exit code was not the expected one.
    """
    if others:
        raise ConfigError(
            f"{', '.join(others)}: legal only for a command in a running container. With 'remove', "
            "'detach' or 'name' the command runs in a container of its own, which takes "
            "working_dir, environment, user, timeout and expected_exit_code"
        )
    folder = either("cwd", cwd, "working_dir", working_dir)
    config = config.merged(
        working_dir=None if folder is None else str(folder),
        environment=either("update_envs", update_envs, "environment", environment),
        user=user or None,
    )
    run = ContainerRun(engine, config, command, name)
    if not detach:
        return run.wait(timeout, remove, expected_exit_code)
    result = run.detach(remove)
    if expected_exit_code is not None:
        result.assert_exit_code(expected_exit_code)
    return result


class ContainerRun:
    """Run of one command in a new container.

    Args:
        engine: Engine of the node.
        config: Config of the container.
        command: A string for the container's `sh -c`, or a sequence to run without a shell; None
            runs the image's own command. If the image has an entrypoint, a string is split into
            words and given to that, as `docker run` does.
        name: Name of the container; None means the engine's choice.
    """

    def __init__(
        self,
        engine: Engine,
        config: ContainerTestConfig,
        command: Command | None,
        name: str | None,
    ) -> None:
        """Keep the arguments and mask their secrets in LISA's logs; create nothing yet.

        Raises:
            ConfigError: A text has half of a character, or a byte outside of UTF-8.
        """
        self._engine = engine
        self._config = config
        self._command = command
        self._name = name
        require_encodable("command", command, is_json=True)
        require_encodable("name", name, is_json=True)
        text = command if isinstance(command, str) else shlex.join(map(str, command or []))
        protect(secret_values(config.environment) | secrets_in_command(text))
        self._token = secrets.token_hex(8)
        self._words: list[str] = []
        # None outside of a run, where nothing is recorded.
        self._other: OtherContainer | None = None
        self._record: CommandCapture | None = None

    def create(self) -> str:
        """Create the container without starting it; return its id.

        Raises:
            ImageNotFoundError, NameTakenError, NoSpaceError, EngineError: The engine refused.
        """
        container = self._create(self._body())
        if run_folder() is not None:
            OtherContainer(self._engine, container, self._config)
        return container

    def detach(self, remove: bool) -> CommandResult:
        """Start the container and return at once, with the container's id as stdout.

        Args:
            remove: Let the engine remove the container when it ends.

        Raises:
            EngineError: See `create`.
        """
        process = self._start(auto_remove=remove, attach=False)
        if self._record is not None:
            self._record.end(process.exit_code if process.finished.is_set() else None)
        if process.finished.is_set():  # the command could not be executed
            result = self._result(process, time.monotonic())
            self.remove()
            return result
        container = process.container
        return CommandResult(container, "", 0, self._text, container[:12], 0.0)

    def wait(
        self, timeout: float | None, remove: bool, expected_exit_code: int | None = None
    ) -> CommandResult:
        """Start the container and wait for its end.

        Args:
            timeout: Seconds until the container is killed and removed; None means no limit.
            remove: Remove the container also if it ends in time.
            expected_exit_code: Raise AssertionError if the command ends with another one.

        Raises:
            CommandTimeoutError: Time was up; the error has the output so far.
            CommandNotStartedError: The command is a string for a shell, and the image has none.
            InterruptedRunError: Ctrl-C was pressed meanwhile.
            EngineError: See `create`.
            AssertionError: The exit code was not the expected one.
        """
        mark = interrupt.now()
        process = self._start(auto_remove=False, attach=True)
        started = time.monotonic()
        must_go = True
        try:
            if not wait_for(process.finished, timeout, lambda: interrupt.check(mark)):
                assert timeout is not None
                raise CommandTimeoutError(
                    self._text,
                    timeout,
                    process.stdout.decode(errors="replace"),
                    process.stderr.decode(errors="replace"),
                )
            result = self._result(process, started)
            if self._record is not None:
                self._record.end(result.exit_code, result.oom_killed)
            must_go = remove
            if expected_exit_code is not None:
                where = f"in a container of '{self._config.image}'"
                result.assert_exit_code(expected_exit_code, where)
        except BaseException as error:
            survived = self._end_after(error, must_go)
            if isinstance(error, KilledCommandError):
                error.note_end(survived)
            raise
        if remove:
            self._end(None)
        return result

    def remove(self) -> str:
        """Remove the container, running or not; log a failure, and return it or an empty string.

        A failure is not raised, because the caller has a result or an earlier error.
        """
        api = self._engine.api
        try:
            with self._engine.errors(self._name or ""):
                label = f"{_TOKEN_LABEL}={self._token}"
                for found in api.containers(all=True, filters={"label": label}):
                    api.remove_container(found["Id"], v=True, force=True)
            if self._other is not None:
                self._other.removed()
        except EngineError as error:
            self._engine.node.log.warning(
                Plain(f"a container of '{self._config.image}' stays: {printable(error)}")
            )
            return str(error)
        return ""

    @property
    def _text(self) -> str:
        command = self._command
        text = command if isinstance(command, str) else shlex.join(self._words)
        return KNOWN.command(text or self._config.image)

    def _body(self) -> dict[str, Any]:
        self._config = built_config(self._engine, self._config)
        self._config = ensure_image(self._engine, self._config)
        find_missing(self._engine, self._config.volumes)
        body = create_body(self._engine, self._config)
        body["Labels"][_TOKEN_LABEL] = self._token
        self._words = self._split()
        if self._words:
            body["Cmd"] = self._words
        return body

    def _create(self, body: dict[str, Any]) -> str:
        return create_container(self._engine, body, self._name, self._config.platform)

    def _split(self) -> list[str]:
        if not isinstance(self._command, str):
            return to_argv(self._command or [])
        image = self._config.image_reference
        entrypoint: object = self._config.entrypoint
        if not entrypoint:
            with self._engine.errors(image=image):
                entrypoint = self._engine.api.inspect_image(image)["Config"].get("Entrypoint")
        return shlex.split(self._command) if entrypoint else to_argv(self._command)

    def _start(self, auto_remove: bool, attach: bool) -> MainProcess:
        body = self._body()
        body["HostConfig"]["AutoRemove"] = auto_remove
        containerd = ContainerdWait(self._engine, only_unsent=True)
        while True:
            try:
                container = self._create(body)
                self._begin_record(container)
                process = MainProcess(self._engine, container, self._record)
                process.start(attach)
                return process
            except BaseException as error:
                self._end_after(error, True)
                if not isinstance(error, EngineError):
                    raise
                is_changed = drop_unsupported(self._engine, body["HostConfig"], error)
                if not is_changed and not containerd.may_repeat(error):
                    raise

    def _result(self, process: MainProcess, started: float) -> CommandResult:
        exit_code = process.exit_code
        stdout, stderr = bytes(process.stdout), bytes(process.stderr)
        if process.refusal and self._words[:2] == ["sh", "-c"] and isinstance(self._command, str):
            raise CommandNotStartedError(
                self._text,
                process.container[:12],
                f"image '{self._config.image}' has no shell ({process.refusal}). Give the command "
                "as a list of words, which is run without one: ['program', 'argument']",
            )
        return CommandResult(
            stdout.decode(errors="replace").strip(),
            stderr.decode(errors="replace").strip(),
            exit_code,
            self._text,
            process.container[:12],
            time.monotonic() - started,
            stdout_bytes=stdout,
            stderr_bytes=stderr,
            oom_killed=process.oom_killed,
        )

    def _begin_record(self, container: str) -> None:
        """Record the container and its command, in a run of LISA."""
        if run_folder() is not None:
            self._other = OtherContainer(self._engine, container, self._config)
            words = None if isinstance(self._command, str) else self._words
            description = CommandDescription(self._text, words)
            self._record = self._other.capture.begin_command(description)

    def _end_after(self, error: BaseException, must_go: bool) -> str:
        """Record an error; remove the container after it if it must go.

        Returns:
            Why the command may still run, or an empty string.
        """
        if self._record is not None:
            self._record.fail(error)
        return end_for_sure(self._engine.node, lambda: self._end(error)) if must_go else ""

    def _end(self, error: BaseException | None) -> str:
        """Remove the container, unless it is kept because a case fails; take its evidence first.

        Returns:
            Why the command may still run, or an empty string.
        """
        if self._other is not None:
            self._other.end(error)
            if self._other.keep:
                return self._kill()
        return self.remove()

    def _kill(self) -> str:
        """End the command of a container that is kept; return why that failed, or nothing."""
        assert self._other is not None
        try:
            with self._engine.errors(self._other.name):
                self._engine.api.kill(self._other.id)
        except EngineError as error:
            return "" if death_of(self._engine, self._other.id) is not None else str(error)
        return ""
