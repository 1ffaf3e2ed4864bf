"""A container as a LISA node: the guest `type: container`, and what `executor.node` gives."""

# No `from __future__ import annotations`: dataclasses-json reads the schema's annotations.

import copy
from dataclasses import dataclass
from pathlib import Path, PurePath
from random import randint
from typing import Any, Callable, Optional, cast

from dataclasses_json import dataclass_json
from lisa import schema
from lisa.node import GuestNode, Node
from lisa.operating_system import Linux, OperatingSystem
from lisa.util import LisaException
from lisa.util.logger import Logger
from lisa.util.process import Process, process_command
from lisa.util.shell import Shell

from lisa_container.config import ConfigFields, ContainerTestConfig
from lisa_container.errors import ConfigError
from lisa_container.executor import ContainerExecutor, release_lease
from lisa_container.reports import add_guest, end_case_of_guest
from lisa_container.shell import ContainerProcess, ContainerShell

# sshd's port, for what asks a node for its connection information.
_SSH_PORT = 22


@dataclass_json()
@dataclass
class ContainerNodeSchema(schema.GuestNode, ConfigFields):
    """The runbook of a guest of type `container`: all fields of `ContainerTestConfig`.

    guests:
      - type: container
        image: debian:12
        privileged: true
    """

    type: str = "container"
    merge_stderr: bool = True
    """Give a command's stderr within its stdout, as LISA's remote nodes do: stock tools look for
    messages there."""

    def __post_init__(self, *args: Any, **kwargs: Any) -> None:
        where = "runbook, guest of type 'container'"
        self.config = self.to_config(where)
        try:
            self.config.require_image()
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error


class ContainerNode(GuestNode):
    """A container that any LISA code can use as a node. Its `parent` is the machine underneath."""

    def __init__(
        self,
        runbook: schema.Node,
        index: int,
        logger_name: str,
        is_test_target: bool = True,
        base_part_path: Optional[Path] = None,
        parent_logger: Optional[Logger] = None,
        encoding: str = "utf-8",
        parent: Optional[Node] = None,
        executor: Optional[ContainerExecutor] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            runbook=runbook,
            index=index,
            logger_name=logger_name,
            is_test_target=is_test_target,
            base_part_path=base_part_path,
            parent_logger=parent_logger,
            encoding=encoding,
            parent=parent,
            **kwargs,
        )
        assert parent is not None
        node_runbook = cast(ContainerNodeSchema, runbook)
        # One of the runbook is brought up by LISA, as a guest; one of an executor is up already.
        self._is_guest = executor is None
        self.executor = executor or ContainerExecutor(parent, node_runbook.config)
        self.name = self.executor.name if executor else f"g{index}"
        merge = self._is_guest and node_runbook.merge_stderr
        self._own_shells = [ContainerShell(self.executor, merge, user) for user in ("", "0")]
        self._shell, self._root_shell = (cast(Shell, shell) for shell in self._own_shells)
        # The kernel and hardware below are the parent's.
        if hasattr(parent, "features"):
            self.features = parent.features

    @classmethod
    def type_name(cls) -> str:
        return "container"

    @classmethod
    def type_schema(cls) -> type[schema.TypedSchema]:
        return ContainerNodeSchema

    @classmethod
    def of(cls, executor: ContainerExecutor) -> "ContainerNode":
        """The node of a container that an executor started."""
        host = executor.host
        runbook = schema.load_by_type(
            ContainerNodeSchema, {"name": executor.name, **executor.config.to_dict()}
        )
        runbook.capability = copy.deepcopy(host.capability)
        node = cls(
            runbook=runbook,
            index=-1,
            logger_name=executor.name,
            is_test_target=False,
            parent_logger=host.log,
            parent=host,
            executor=executor,
        )
        node.initialize()  # as LISA's own nodes are when a case gets them: `node.os` is there
        return node

    @property
    def config(self) -> ContainerTestConfig:
        """What the container is."""
        return self.executor.config

    @property
    def host(self) -> Node:
        """The machine the container runs on."""
        return self.executor.host

    @property
    def is_remote(self) -> bool:
        """Always: also on a local node, files must be copied to get in."""
        return True

    @property
    def is_posix(self) -> bool:
        return True

    @property
    def support_sudo(self) -> bool:
        """Always, without sudo in the image: the engine starts the command as root."""
        return True

    @property
    def connection_info(self) -> dict[str, Any]:
        """As a remote node's: the container's address on its network, for what connects to it."""
        address = self.address
        return {
            "address": address,
            "port": _SSH_PORT,
            "username": self.config.user or "root",
            "password": "",
            "private_key_file": "",
        }

    @property
    def address(self) -> str:
        """The container's IP address; with the host's network, or none, the host's."""
        networks = self.executor.inspect()["NetworkSettings"]["Networks"] or {}
        addresses = [network.get("IPAddress") for network in networks.values()]
        own = next((address for address in addresses if address), "")
        parent = getattr(self.host, "internal_address", "") or "127.0.0.1"
        return own or str(parent)

    def reboot(self, time_out: int = 300) -> None:
        """Restart the container: all its processes end, its files stay."""
        self.executor.restart()

    def cleanup(self) -> None:
        """Remove the container, and first what was made on it."""
        guests = list(self.guests)
        self.guests.clear()
        for guest in guests:
            guest.cleanup()
        self.executor.stop()
        release_lease(self.host)

    def close(self) -> None:
        """LISA closes its nodes after each case: commands that still run end (see
        `ContainerShell.close`), the container lives on."""
        if self._is_guest:
            end_case_of_guest(self.executor)
        for shell in self._own_shells:
            shell.close()
        self._nics = None

    def test_connection(self) -> bool:
        """Whether the container runs and takes a command."""
        return self.executor.is_running and super().test_connection()

    def __repr__(self) -> str:
        return repr(self.executor)

    def _initialize(self, *args: Any, **kwargs: Any) -> None:
        self._provision()
        try:
            self.os: OperatingSystem = OperatingSystem.create(self)
        except LisaException as error:
            # An image need not be of a distribution; then only what all Linux has is known.
            self.log.debug(f"{error}; taken for a plain Linux")
            self.os = Linux(self)
        if self._is_guest:
            self.capture_system_information("started")

    def _provision(self) -> None:
        assert self.parent is not None
        self.parent.initialize()
        self.executor.start()
        if self._is_guest:
            add_guest(self.executor)

    def _execute(
        self,
        cmd: str,
        shell: bool = False,
        sudo: bool = False,
        nohup: bool = False,
        no_error_log: bool = False,
        no_info_log: bool = False,
        no_debug_log: bool = False,
        cwd: Optional[PurePath] = None,
        update_envs: Optional[dict[str, str]] = None,
        encoding: str = "",
        command_splitter: Callable[..., list[str]] = process_command,
    ) -> Process:
        process = Process(
            str(randint(0, 10000)),
            self._root_shell if sudo else self.shell,
            parent_logger=self.log,
        )
        process.start(
            cmd,
            shell=shell,
            no_error_log=no_error_log,
            no_info_log=no_info_log,
            no_debug_log=no_debug_log,
            cwd=cwd,
            update_envs=update_envs,
            encoding=encoding or self._encoding,
            command_splitter=command_splitter,
        )
        if nohup and process._process is not None:
            # Without the program nohup, which not every image has.
            cast(ContainerProcess, process._process).is_kept_on_close = True
        return process
