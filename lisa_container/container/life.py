"""Life of one container: creation, start and removal.

Each request to an engine costs milliseconds, and a hundred containers cost a second. So the
entrypoint that works for an image is remembered for the next container.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field
from typing import Any

from lisa_container.config import ContainerTestConfig
from lisa_container.container.create import create_container, drop_unsupported
from lisa_container.container.keepalive import (
    PAUSE,
    SHELL,
    SLEEP,
    choose_entrypoint,
    find_program,
    program_folders,
    put_pause,
    set_entrypoint,
)
from lisa_container.container.options import create_body
from lisa_container.container.own_process import (
    STOP_TIMEOUT,
    is_systemd,
    prepare_systemd,
)
from lisa_container.container.ready import wait_until_ready
from lisa_container.container.state import is_missing
from lisa_container.container.volumes import find_missing, make_volumes, remove_volumes
from lisa_container.engine.client import Engine
from lisa_container.engine.containerd import ContainerdWait
from lisa_container.engine.dial import is_reachable
from lisa_container.errors import (
    ContainerDiedError,
    ContainerStartError,
    EngineError,
    SshLostError,
)

_TOKEN_LABEL = "lisa_container.executor"


@dataclass
class _KnownEntrypoint:
    """Entrypoint that keeps containers of a config running."""

    entrypoint: list[str] = field(default_factory=lambda: SLEEP)
    image: str = ""
    """Id of the image that it worked with; empty if no container has run yet."""


@dataclass
class _KnownEntrypoints:
    """Entrypoints known for one engine, by the key of the config."""

    by_key: dict[str, _KnownEntrypoint] = field(default_factory=dict)
    with_sleep: set[str] = field(default_factory=set)
    """Ids of the images whose `sleep` works."""


class _EndedError(ContainerStartError):
    """The container ended as soon as it was started."""


class ContainerLife:
    """Life of one container.

    Several threads may use this object: a removal waits for the end of a start.

    Args:
        engine: Engine of the node.
        config: Config of the container; the node has its image.
        name: Name of the container.
    """

    def __init__(self, engine: Engine, config: ContainerTestConfig, name: str) -> None:
        """Create nothing yet; `start` does."""
        self.id = ""
        """Id of the container; empty until it was created."""
        self.image_id = ""
        """Id of the container's image; empty until the container was started."""
        self.has_shell = True
        """Whether the image has `sh`; True until the container was started."""
        self._engine = engine
        self._config = config
        self._name = name
        self._key = config.key()
        self._is_own = config.has_own_output
        self._is_up = False
        self._has_systemd = False
        self._lock = threading.Lock()
        # Label of the container, which finds it if the answer to the creation was lost.
        self._token = secrets.token_hex(8)

    def start(self) -> None:
        """Create the container, start it and check that it runs.

        After a failure call `remove`: the container may exist.

        Raises:
            NameTakenError: The node has another container of this name.
            ImageNotFoundError: The image is not on the node.
            ContainerStartError: The container ended at once, or did not start in time.
            EngineError: The engine refused a setting of the config.
        """
        with self._lock:
            missing = find_missing(self._engine, self._config.volumes)
            try:
                self._start()
            except EngineError as error:
                hints = [hint for path, hint in missing.items() if path in str(error)]
                if hints:
                    error.args = ("\n".join([str(error), *hints]),)
                raise

    def restart(self) -> None:
        """Restart the container; the errors are those of `start`."""
        timeout = STOP_TIMEOUT if self._is_own else 0
        with self._engine.errors(self._name):
            self._engine.api.restart(self.id, timeout=timeout)
        if not self._is_own:
            self._inspect_running()
        self._wait_until_ready()

    def remove_soon(self) -> None:
        """Let the engine begin the removal without waiting for its end; `remove` must follow.

        Raises:
            EngineError: The engine does not answer.
        """
        with self._lock, self._engine.errors(self._name):
            if self.id and not self._is_own:  # its process ends by itself, in `remove`
                self._engine.api.remove_soon(self.id)

    def remove(self) -> None:
        """Remove the container and the volumes that were created for it, if they exist.

        LISA closes the connection after each case. If this cuts the removal off, it begins anew.

        Raises:
            EngineError: The engine refused or does not answer.
        """
        try:
            self._remove()
        except SshLostError:
            if not is_reachable(self._engine.node):
                raise
            self._remove()

    def _remove(self) -> None:
        with self._lock:
            if self._is_own and self.id and self._is_up:
                self._stop()
            self._delete()
            remove_volumes(self._engine, self._config.volumes)

    def _start(self) -> None:
        body = create_body(self._engine, self._config)
        body["Labels"][_TOKEN_LABEL] = self._token
        make_volumes(self._engine, self._config.volumes)
        if self._is_own:
            self._start_own(body)
        else:
            self._start_kept(body)
        self._wait_until_ready()
        self._is_up = True

    def _start_own(self, body: dict[str, Any]) -> None:
        """Start the container with the first process of the image or the config."""
        containerd = ContainerdWait(self._engine)
        while True:
            self._create(body)
            has_systemd = is_systemd(self._engine, self.id)
            if has_systemd and not self._has_systemd:
                self._has_systemd = True
                prepare_systemd(self._engine, self._config, body)
                self._delete()
                continue
            try:
                self._begin()
                break
            except EngineError as error:
                is_changed = drop_unsupported(self._engine, body["HostConfig"], error)
                if not is_changed and not containerd.may_repeat(error):
                    raise
            self._delete()
        with self._engine.errors(self._name):
            self.image_id = str(self._engine.api.inspect_container(self.id)["Image"])
        folders = program_folders(self._engine, self.id)
        self.has_shell = find_program(self._engine, self.id, folders, "sh") is not None

    def _wait_until_ready(self) -> None:
        if self._is_own or self._config.ready:
            wait_until_ready(self._engine, self.id, self._name, self._config, self._has_systemd)

    def _create(self, body: dict[str, Any]) -> None:
        self.id = create_container(self._engine, body, self._name, self._config.platform)

    def _stop(self) -> None:
        """Let the first process end by itself, for some seconds."""
        try:
            with self._engine.errors(self._name):
                self._engine.api.stop(self.id, timeout=STOP_TIMEOUT)
        except EngineError as error:
            if not is_missing(error):
                raise

    def _start_kept(self, body: dict[str, Any]) -> None:
        """Start the container with a first process that only keeps it running."""
        body["HostConfig"]["Init"] = True
        known = self._known()
        entrypoint, has_looked = known.entrypoint, bool(known.image)
        containerd = ContainerdWait(self._engine)
        while True:
            set_entrypoint(body, entrypoint)
            self._create(body)
            if not has_looked:
                has_looked = True
                fitting = choose_entrypoint(self._engine, self.id)
                if fitting != entrypoint:
                    entrypoint = fitting
                    self._delete()
                    continue
            try:
                if entrypoint == PAUSE:
                    put_pause(self._engine, self.id, self._config.image)
                image = self._run()
                if entrypoint == SLEEP and not self._can_sleep(image):
                    entrypoint = SHELL
                    self._delete()
                    continue
            except EngineError as error:
                if entrypoint == SLEEP and (
                    isinstance(error, _EndedError) or "sleep" in str(error)
                ):
                    entrypoint = SHELL  # the image's sleep cannot run
                    self._delete()
                    continue
                # The name may stand for another image now, or the engine may not support a setting.
                is_outdated = bool(known.image) and isinstance(error, ContainerDiedError)
                host = body["HostConfig"]
                is_changed = is_outdated or drop_unsupported(self._engine, host, error)
                if not is_changed and not containerd.may_repeat(error):
                    raise
            else:
                if known.image in ("", image):
                    break
                is_outdated = True
            if is_outdated:
                known = _KnownEntrypoint()
                entrypoint, has_looked = known.entrypoint, False
            self._delete()
        self.image_id = image
        self.has_shell = entrypoint != PAUSE
        self._remember(_KnownEntrypoint(entrypoint, image))

    def _can_sleep(self, image: str) -> bool:
        """Tell whether the image's `sleep` works, which is tried once for each image.

        It may be made for another machine, or lack its libraries. Behind the engine's init, such a
        container only dies a moment after its start.
        """
        known = self._engine.state(_KnownEntrypoints).with_sleep
        if image in known:
            return True
        try:
            with self._engine.errors(self._name):
                command = self._engine.api.exec_create(self.id, [SLEEP[0], "0"])["Id"]
                self._engine.api.exec_start(command)
                exit_code = self._engine.api.exec_inspect(command)["ExitCode"]
        except EngineError:
            return False
        if exit_code == 0:
            known.add(image)
        return bool(exit_code == 0)

    def _run(self) -> str:
        """Start the created container and check that it runs; return the id of its image."""
        self._begin()
        return str(self._inspect_running()["Image"])

    def _begin(self) -> None:
        seconds = self._config.startup_timeout
        with self._engine.errors(self._name, self._config.image):
            if not self._engine.api.start_within(self.id, seconds):
                raise ContainerStartError(
                    self._name,
                    self._engine.name,
                    f"it did not start in {seconds:g} seconds (startup_timeout)",
                )

    def _inspect_running(self) -> dict[str, Any]:
        with self._engine.errors(self._name):
            details: dict[str, Any] = self._engine.api.inspect_container(self.id)
        state = details["State"]
        if not state["Running"]:
            reason = f"it ended at once with exit code {state.get('ExitCode')}"
            raise _EndedError(self._name, self._engine.name, reason)
        return details

    def _delete(self) -> None:
        try:
            self._remove_container()
        except EngineError as error:
            if "already in progress" in str(error):
                self._await_removal()
            elif "could not kill running container" in str(error).lower():
                # Docker waited ten seconds for the container's end while its containerd was down.
                self._remove_container()
            elif not is_missing(error):
                raise
        self.id = ""

    def _remove_container(self) -> None:
        with self._engine.errors(self._name):
            for container in [self.id] if self.id else self._find():
                self._engine.api.remove_container(container, v=True, force=True)

    def _await_removal(self) -> None:
        """Wait until another removal of the container has ended."""
        try:
            with self._engine.errors(self._name):
                self._engine.api.wait(self.id, condition="removed")
        except EngineError as error:
            if not is_missing(error):
                raise

    def _find(self) -> list[str]:
        """Find the container by its label: the answer to its creation may have been lost."""
        label = f"{_TOKEN_LABEL}={self._token}"
        containers = self._engine.api.containers(all=True, filters={"label": label})
        return [each["Id"] for each in containers]

    def _known(self) -> _KnownEntrypoint:
        return self._engine.state(_KnownEntrypoints).by_key.get(self._key, _KnownEntrypoint())

    def _remember(self, entrypoint: _KnownEntrypoint) -> None:
        self._engine.state(_KnownEntrypoints).by_key[self._key] = entrypoint
