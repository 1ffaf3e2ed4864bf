"""Guests of a runbook with `type: container`: stock suites in a container."""

# No `from __future__ import annotations`: dataclasses-json reads the schema's annotations.

from dataclasses import dataclass, field
from typing import Any, cast

from dataclasses_json import dataclass_json
from lisa import schema
from lisa.util import field_metadata

from lisa_container.cases.retries import close_as_running
from lisa_container.cases.status import await_begin, end_reported_cases, guests
from lisa_container.chaos.injector import FailureInjector
from lisa_container.chaos.parse import parse_faults
from lisa_container.config import ConfigFields
from lisa_container.config.checks import illegal
from lisa_container.config.identity import hostname
from lisa_container.container.live import release_lease
from lisa_container.errors import ConfigError, ContainerError, NoShellError
from lisa_container.escaping import printable
from lisa_container.executor import ContainerExecutor
from lisa_container.fleet.network import FleetNetwork
from lisa_container.masking import Plain
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

    fleet: str = ""
    """Name of a fleet. The guests of one node with the same name share a network, on which they are
    `<fleet>-1`, `<fleet>-2` and so on; these are their host names, too."""

    faults: Any = field(default=None, metadata=field_metadata(allow_none=True))
    """Faults that the container has as long as it runs, such as `{kind: network, delay: 0.1}`."""

    def __post_init__(self, *args: Any, **kwargs: Any) -> None:
        """Check the config.

        Raises:
            ConfigError: A field has a wrong value, or there is no image.
        """
        where = "runbook, guest of type 'container'"
        self.config = self.to_config(where)
        try:
            self.config.require_image()
            self.fleet = hostname("fleet", self.fleet)
            self.parsed_faults = parse_faults("faults", [] if self.faults is None else self.faults)
            if self.fleet and self.config.network_mode:
                raise illegal(
                    "network_mode",
                    self.config.network_mode,
                    "none beside 'fleet', whose network the guest gets",
                )
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error


class ContainerGuest(ContainerNode):
    """A container that LISA starts as a guest of a node and gives to cases as their node."""

    executor: ContainerExecutor
    # Network of the guest's fleet, and injector of its faults.
    _network: FleetNetwork | None = None
    _injector: FailureInjector | None = None

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
        if self._injector is not None:
            try:
                self._injector.stop_all()
            except ContainerError as error:
                # The lease ends it later.
                self.host.log.warning(Plain(printable(error)))
        super().cleanup()
        if self._network is not None:
            self._network.remove()

    def _make_container(self) -> ContainerExecutor:
        schema_of_guest = cast(ContainerGuestSchema, self.runbook)
        config, name = schema_of_guest.config, ""
        if schema_of_guest.fleet:
            others = [
                guest
                for guest in self.host.guests
                if isinstance(guest, ContainerGuest)
                and cast(ContainerGuestSchema, guest.runbook).fleet == schema_of_guest.fleet
            ]
            first = others[0]._network if others else None
            self._network = first or FleetNetwork(schema_of_guest.fleet)
            config, name = self._network.member(config, len(others) + 1, self.host)
        executor = ContainerExecutor(self.host, config, name)
        executor.is_managed = True
        return executor

    def _provision(self) -> None:
        if self._network is not None:
            self._network.create(self.host)
        super()._provision()
        if not self.executor.has_shell:
            name = self.executor.name
            self.executor.stop()
            release_lease(self.host)
            raise NoShellError(name, self.config.image or "built")
        faults = cast(ContainerGuestSchema, self.runbook).parsed_faults
        if faults:
            self._injector = FailureInjector(self.host)
            try:
                for fault in faults:
                    self._injector.inject(fault, self.executor)
            except BaseException:
                self._injector.stop_all()
                self.executor.stop()
                release_lease(self.host)
                raise
        guests.add(self.executor)
        self.executor.capture.find_case = await_begin

    def _initialize(self, *args: Any, **kwargs: Any) -> None:
        super()._initialize(*args, **kwargs)
        self.capture_system_information("started")
