"""The life of one container: how it is made and started, and how it ends.

Each request to an engine costs a test milliseconds, and a hundred containers a second. What one
container taught about its image is therefore remembered for the next one.
"""

from __future__ import annotations

import secrets
import threading
import weakref
from dataclasses import dataclass, field
from typing import Any

from lisa_container.config import ContainerTestConfig
from lisa_container.engine.client import Engine
from lisa_container.engine.create import create_container, soften
from lisa_container.engine.keepalive import (
    PAUSE,
    SLEEP,
    choose_entrypoint,
    put_pause,
    set_entrypoint,
)
from lisa_container.engine.options import create_body
from lisa_container.engine.state import is_missing
from lisa_container.engine.volumes import make_volumes, remove_volumes
from lisa_container.errors import ContainerDiedError, EngineError

_TOKEN_LABEL = "lisa_container.executor"


@dataclass
class _Lesson:
    """What keeps containers of a config running, as seen with one of them."""

    entrypoint: list[str] = field(default_factory=lambda: SLEEP)
    image: str = ""
    """The id of the image it was seen with; empty where none has run yet."""


_lessons: weakref.WeakKeyDictionary[Engine, dict[str, _Lesson]] = weakref.WeakKeyDictionary()
_lessons_lock = threading.Lock()


class ContainerLife:
    """Makes, starts and removes one container.

    Safe to use from several threads: a removal waits for the start that is under way.

    Args:
        engine: of the node.
        config: what the container shall be; its image is on the node.
        name: of the container.
    """

    def __init__(self, engine: Engine, config: ContainerTestConfig, name: str) -> None:
        self.id = ""
        """The engine's id, once the container was created."""
        self.image_id = ""
        """The engine's id of its image, once it was started."""
        self.has_shell = True
        """Whether the image has `sh`; known once the container was started."""
        self._engine = engine
        self._config = config
        self._name = name
        self._key = config.key()
        self._lock = threading.Lock()
        # On the container as a label: finds it where the answer to the creation was lost.
        self._token = secrets.token_hex(8)

    def start(self) -> None:
        """Create the container, start it and see it run.

        What was created stays where this fails; `remove` takes it away.

        Raises:
            NameTakenError: a container of that name is there.
            ImageNotFoundError: the image is not on the node.
            ContainerDiedError: it started and ended at once, or did not start in time.
            EngineError: the engine refused something of the config.
        """
        with self._lock:
            self._start()

    def restart(self) -> None:
        """Restart the container. Raises as `start`."""
        with self._engine.errors(self._name):
            self._engine.api.restart(self.id, timeout=0)
        self._inspect_running()

    def remove_soon(self) -> None:
        """Have the engine begin with the removal, and do not wait for it; `remove` must follow.

        Raises:
            EngineError: the engine does not answer.
        """
        with self._lock, self._engine.errors(self._name):
            if self.id:
                self._engine.api.remove_soon(self.id)

    def remove(self) -> None:
        """Remove the container and the volumes made for it, where they are there.

        Raises:
            EngineError: the engine refused, or does not answer.
        """
        with self._lock:
            self._delete()
            remove_volumes(self._engine, self._config.volumes)

    def _start(self) -> None:
        body = create_body(self._engine, self._config)
        body["Labels"][_TOKEN_LABEL] = self._token
        body["HostConfig"]["Init"] = True
        make_volumes(self._engine, self._config.volumes)
        lesson = self._lesson()
        entrypoint, has_looked = lesson.entrypoint, bool(lesson.image)
        while True:
            set_entrypoint(body, entrypoint)
            self.id = create_container(self._engine, body, self._name, self._config.platform)
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
            except EngineError as error:
                # The image may be another one by now, or the engine able to do less than asked.
                is_outdated = bool(lesson.image) and isinstance(error, ContainerDiedError)
                if not is_outdated and not soften(self._engine, body["HostConfig"], error):
                    raise
            else:
                if lesson.image in ("", image):
                    break
                is_outdated = True
            if is_outdated:
                lesson = _Lesson()
                entrypoint, has_looked = lesson.entrypoint, False
            self._delete()
        self.image_id = image
        self.has_shell = entrypoint != PAUSE
        self._learn(_Lesson(entrypoint, image))

    def _run(self) -> str:
        """Start the container that was created; the id of its image."""
        seconds = self._config.startup_timeout
        with self._engine.errors(self._name, self._config.image):
            if not self._engine.api.start_within(self.id, seconds):
                raise ContainerDiedError(
                    self._name,
                    self._engine.name,
                    f"it did not start in {seconds:g} seconds (startup_timeout)",
                )
        return str(self._inspect_running()["Image"])

    def _inspect_running(self) -> dict[str, Any]:
        with self._engine.errors(self._name):
            found: dict[str, Any] = self._engine.api.inspect_container(self.id)
        state = found["State"]
        if not state["Running"]:
            reason = f"it ended at once with exit code {state.get('ExitCode')}"
            raise ContainerDiedError(self._name, self._engine.name, reason)
        return found

    def _delete(self) -> None:
        api = self._engine.api
        try:
            with self._engine.errors(self._name):
                for container in [self.id] if self.id else self._find():
                    api.remove_container(container, v=True, force=True)
        except EngineError as error:
            if "already in progress" in str(error):
                self._await_removal()
            elif not is_missing(error):
                raise
        self.id = ""

    def _await_removal(self) -> None:
        """Somebody else removes it at this moment."""
        try:
            with self._engine.errors(self._name):
                self._engine.api.wait(self.id, condition="removed")
        except EngineError as error:
            if not is_missing(error):
                raise

    def _find(self) -> list[str]:
        """It may have been created though the engine's answer never came."""
        label = f"{_TOKEN_LABEL}={self._token}"
        found = self._engine.api.containers(all=True, filters={"label": label})
        return [each["Id"] for each in found]

    def _lesson(self) -> _Lesson:
        with _lessons_lock:
            return _lessons.setdefault(self._engine, {}).get(self._key, _Lesson())

    def _learn(self, lesson: _Lesson) -> None:
        with _lessons_lock:
            _lessons.setdefault(self._engine, {})[self._key] = lesson
