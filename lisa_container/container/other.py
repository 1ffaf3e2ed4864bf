"""Containers without a `ContainerExecutor`: of one command, or made in any other way.

Their commands are recorded like those of an executor.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lisa_container.config import ContainerTestConfig, Evidence
from lisa_container.container.follower import follower
from lisa_container.container.live import live
from lisa_container.engine.client import Engine
from lisa_container.errors import EngineError
from lisa_container.naming import node_name
from lisa_container.recording.container import ContainerCapture
from lisa_container.recording.files import run_folder
from lisa_container.recording.records import CONTAINERS_FOLDER

# Digits of an id as the engines show it.
_SHORT_ID = 12

# Config of a container that the case has not made by this package: only commands are recorded.
_UNKNOWN = ContainerTestConfig(evidence=Evidence.NEVER)


@dataclass
class _Others:
    """Containers of one engine that are recorded, by their ids."""

    by_id: dict[str, OtherContainer] = field(default_factory=dict)


class OtherContainer:
    """Container without an executor, as its records and its case see it.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.
        config: Config of the container.

    Raises:
        EngineError: There is no such container, or the engine does not answer.
    """

    def __init__(
        self, engine: Engine, container: str, config: ContainerTestConfig = _UNKNOWN
    ) -> None:
        """Begin the record, in the case that runs."""
        with engine.errors(container):
            found = engine.api.inspect_container(container)
        self.engine = engine
        self.host = engine.node
        self.config = config
        self.id = str(found["Id"])
        """Id of the container; empty after its removal."""
        self.name = _unused(str(found["Name"]).lstrip("/")) or self.id[:_SHORT_ID]
        self.keep = False
        self.enter_command = ""
        self.capture = ContainerCapture(
            self.name,
            config.environment,
            config.capture_limit_bytes,
            False,
            lambda: None,
            engine.node.log,
        )
        self.capture.record_start(
            id=self.id,
            node=node_name(self.host),
            engine=f"{engine.kind} {engine.version}",
            image=config.image or str(found["Config"]["Image"]),
            image_id=str(found["Image"]),
            config=config.to_dict(),
        )
        engine.state(_Others).by_id[self.id] = self
        self.follow()

    def __repr__(self) -> str:
        """Return the container's name, image and node, for messages."""
        return f"container '{self.name}' ({self.config.image}) on '{node_name(self.host)}'"

    @property
    def is_started(self) -> bool:
        """Whether the engine has the container; it may have been removed in any way."""
        if not self.id:
            return False
        try:
            with self.engine.errors(self.name):
                self.engine.api.inspect_container(self.id)
        except EngineError:
            return False
        return True

    def follow(self) -> None:
        """Record the container with the case that runs, if there is one."""
        follower().started(self)

    def end(self, error: BaseException | None) -> None:
        """Take the evidence of the container, which is about to be removed unless `keep` is set.

        Args:
            error: Exception that ends its use; None if there is none.
        """
        follower().ending(self, error)

    def removed(self) -> None:
        """Note that the container was removed."""
        self.engine.state(_Others).by_id.pop(self.id, None)
        self.id = ""
        self.capture.record_end()


def recorder_of(engine: Engine, container: str) -> ContainerCapture | None:
    """Return the recorder of the commands in any container; None if nothing is recorded.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.
    """
    for executor in live:
        if executor.is_started and executor.engine is engine:
            is_id = len(container) >= _SHORT_ID and executor.id.startswith(container)
            if is_id or container == executor.name:
                return executor.capture
    if run_folder() is None:
        return None
    try:
        with engine.errors(container):
            found = str(engine.api.inspect_container(container)["Id"])
        other = engine.state(_Others).by_id.get(found)
        if other is None:
            return OtherContainer(engine, found).capture
    except EngineError:
        return None  # the command fails, too, and says why
    other.follow()
    return other.capture


def _unused(name: str) -> str:
    """Return a name unless another container of the run had it; then an empty string."""
    run = run_folder()
    return "" if run is not None and (run / CONTAINERS_FOLDER / name).exists() else name
