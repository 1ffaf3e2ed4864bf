"""A command as the first process of a container of its own, as `docker run`."""

from __future__ import annotations

import secrets
import shlex
import threading
import time
from typing import Any

from lisa_container import interrupt
from lisa_container.command import Command, CommandResult, to_argv
from lisa_container.config import ContainerTestConfig
from lisa_container.engine.client import Engine
from lisa_container.engine.create import create_container, soften
from lisa_container.engine.options import create_body
from lisa_container.engine.process import MainProcess
from lisa_container.engine.waiting import wait_for
from lisa_container.errors import (
    CommandNotStartedError,
    CommandTimeoutError,
    EngineError,
    InterruptedRunError,
)
from lisa_container.images import built_config, ensure_image

# On the container of one call, to find it again where the answer to its creation never came.
_TOKEN_LABEL = "lisa_container.call"


class ContainerRun:
    """Runs one command in a new container.

    Args:
        engine: of the node.
        config: what the container shall be.
        command: a string for the container's `sh -c`, or a sequence run without any shell; None
            runs the image's own. For an image with an entrypoint a string is split into words, as
            `docker run` does, and given to that.
        name: of the container; None has the engine make one up.
    """

    def __init__(
        self,
        engine: Engine,
        config: ContainerTestConfig,
        command: Command | None,
        name: str | None,
    ) -> None:
        self._engine = engine
        self._config = config
        self._command = command
        self._name = name
        self._token = secrets.token_hex(8)
        self._words: list[str] = []

    def create(self) -> str:
        """Create the container, and leave it so; its id.

        Raises:
            ImageNotFoundError, NameTakenError, NoSpaceError, EngineError: the engine refused.
        """
        return self._create(self._body())

    def detach(self, remove: bool) -> CommandResult:
        """Start it and return at once; stdout is the container's id.

        Args:
            remove: have the engine remove the container when it ends.

        Raises:
            EngineError: see `create`.
        """
        process = self._start(auto_remove=remove, attach=False)
        if process.finished.is_set():  # it could not be executed
            result = self._result(process, time.monotonic())
            self.remove()
            return result
        container = process.container
        return CommandResult(container, "", 0, self._text, container[:12], 0.0)

    def wait(self, timeout: float | None, remove: bool) -> CommandResult:
        """Start it and wait for its end.

        Args:
            timeout: seconds for the command; then the container is killed and removed. None waits
                for ever.
            remove: remove the container also when it ended in time.

        Raises:
            CommandTimeoutError: time was up; what it had printed is in the error.
            CommandNotStartedError: a string for a shell, and the image has none.
            InterruptedRunError: Ctrl-C was pressed meanwhile.
            EngineError: see `create`.
        """
        mark = interrupt.now()
        process = self._start(auto_remove=False, attach=True)
        started = time.monotonic()
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
        except BaseException as error:
            self._remove_after(error)
            raise
        if remove:
            self.remove()
        return result

    def remove(self) -> None:
        """Remove the container, whatever it does. A failure is logged: there is a first one to tell
        of, or a result."""
        api = self._engine.api
        try:
            with self._engine.errors(self._name or ""):
                label = f"{_TOKEN_LABEL}={self._token}"
                for found in api.containers(all=True, filters={"label": label}):
                    api.remove_container(found["Id"], v=True, force=True)
        except EngineError as error:
            self._engine.node.log.warning(f"a container of '{self._config.image}' stays: {error}")

    @property
    def _text(self) -> str:
        if isinstance(self._command, str):
            return self._command
        return shlex.join(self._words or [self._config.image])

    def _body(self) -> dict[str, Any]:
        self._config = built_config(self._engine, self._config)
        self._config = ensure_image(self._engine, self._config)
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
        with self._engine.errors(image=image):
            entrypoint = self._engine.api.inspect_image(image)["Config"].get("Entrypoint")
        return shlex.split(self._command) if entrypoint else to_argv(self._command)

    def _start(self, auto_remove: bool, attach: bool) -> MainProcess:
        body = self._body()
        body["HostConfig"]["AutoRemove"] = auto_remove
        while True:
            try:
                container = self._create(body)
                process = MainProcess(self._engine, container)
                process.start(attach)
                return process
            except BaseException as error:
                self._remove_after(error)
                if not isinstance(error, EngineError) or not soften(
                    self._engine, body["HostConfig"], error
                ):
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

    def _remove_after(self, error: BaseException) -> None:
        if isinstance(error, (Exception, InterruptedRunError)):
            self.remove()
            return
        # LISA's case timeout: such an exception comes again while we clean up, so a thread of its
        # own sees to it.
        threading.Thread(target=self.remove, name="container-remove", daemon=True).start()
