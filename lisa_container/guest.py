"""Guests of a runbook with `type: container`: stock suites in a container."""

# No `from __future__ import annotations`: dataclasses-json reads the schema's annotations.

from dataclasses import dataclass
from typing import Any, cast

from dataclasses_json import dataclass_json
from lisa import schema
from lisa.node import Node

from lisa_container.cases.retries import close_as_running
from lisa_container.cases.status import await_begin, end_reported_cases, guests
from lisa_container.config import ConfigFields
from lisa_container.container.live import release_lease
from lisa_container.errors import ConfigError, NoShellError
from lisa_container.executor import ContainerExecutor
from lisa_container.node import ContainerNode


@dataclass_json()
@dataclass
class ContainerGuestSchema(schema.GuestNode, ConfigFields):
    """Runbook of a guest of type `container`, with all fields of `ContainerTestConfig`.

    guests:
      - type: container
        image: debian:12
        privileged: true
    """

    type: str = "container"
    merge_stderr: bool = True
    """Run commands on a terminal, as LISA does on its remote nodes: stock tools look in stdout for
    messages of stderr. False keeps the streams apart, without a terminal."""

    def __post_init__(self, *args: Any, **kwargs: Any) -> None:
        """Check the config.

        Raises:
            ConfigError: A field has a wrong value, or there is no image.
        """
        where = "runbook, guest of type 'container'"
        self.config = self.to_config(where)
        try:
            self.config.require_image()
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error


class ContainerGuest(ContainerNode):
    """A container that LISA starts as a guest of a node and gives to cases as their node."""

    executor: ContainerExecutor

    def __init__(self, runbook: schema.Node, index: int, logger_name: str, **kwargs: Any) -> None:
        """See LISA's `GuestNode` for the arguments."""
        merge_stderr = cast(ContainerGuestSchema, runbook).merge_stderr
        super().__init__(
            runbook=runbook,
            index=index,
            logger_name=logger_name,
            merge_stderr=merge_stderr,
            **kwargs,
        )
        self.name = f"g{index}"

    @classmethod
    def type_name(cls) -> str:
        """Return the guest's `type` in a runbook."""
        return "container"

    @classmethod
    def type_schema(cls) -> type[schema.TypedSchema]:
        """Return the schema of the guest's runbook."""
        return ContainerGuestSchema

    def close(self) -> None:
        """Take the evidence of the case that has ended, then close as `ContainerNode.close`."""
        close_as_running(self.host)
        end_reported_cases()
        super().close()

    def cleanup(self) -> None:
        """Remove the container; see `ContainerNode.cleanup`."""
        guests.discard(self.executor)
        super().cleanup()

    def _make_container(self) -> ContainerExecutor:
        config = cast(ContainerGuestSchema, self.runbook).config
        executor = ContainerExecutor(cast(Node, self.parent), config)
        executor.is_managed = True
        return executor

    def _provision(self) -> None:
        super()._provision()
        if not self.executor.has_shell:
            name = self.executor.name
            self.executor.stop()
            release_lease(self.host)
            raise NoShellError(name, self.config.image or "built")
        guests.add(self.executor)
        self.executor.capture.find_case = await_begin

    def _initialize(self, *args: Any, **kwargs: Any) -> None:
        super()._initialize(*args, **kwargs)
        self.capture_system_information("started")
