"""A container that any LISA code can use as a node."""

from __future__ import annotations

import copy
from pathlib import PurePath
from random import randint
from typing import Any, Callable, cast

from lisa import schema
from lisa.node import GuestNode, Node
from lisa.operating_system import Linux, OperatingSystem
from lisa.tools import Df
from lisa.util import LisaException
from lisa.util.process import Process, process_command
from lisa.util.shell import Shell

from lisa_container.config import ContainerTestConfig
from lisa_container.container.container import Container
from lisa_container.container.live import release_lease
from lisa_container.container.state import find_address
from lisa_container.escaping import printable
from lisa_container.masking import KNOWN, protect, secret_values, secrets_in_command
from lisa_container.node.disks import ContainerFeatures, ContainerTools
from lisa_container.node.shell import ContainerShell

# Port in `connection_info`: sshd's.
_SSH_PORT = 22


class ContainerNode(GuestNode):
    """A running container that any LISA code can use as a node.

    `parent` is the node that the container runs on. `ContainerNode.of(container)` makes one.
    """

    def __init__(
        self,
        runbook: schema.Node,
        index: int,
        logger_name: str,
        *,
        container: Container | None = None,
        merge_stderr: bool = True,
        **kwargs: Any,
    ) -> None:
        """Give LISA's `GuestNode` the shells of a container.

        Args:
            runbook: LISA's runbook of the node.
            index: LISA's number of the node in its environment.
            logger_name: Name of the node's logger.
            container: Container to use; `_make_container` makes it where None is given.
            merge_stderr: Run commands on a terminal, as LISA does on its remote nodes. False keeps
                stderr apart from stdout, without a terminal.
            kwargs: Further arguments of LISA's `GuestNode`.
        """
        super().__init__(runbook=runbook, index=index, logger_name=logger_name, **kwargs)
        self.executor = container or self._make_container()
        self.name = self.executor.name
        # By two arguments of LISA's `execute`: sudo and nohup.
        self._shells = {
            (sudo, nohup): ContainerShell(self.executor, "0" if sudo else "", merge_stderr, nohup)
            for sudo in (False, True)
            for nohup in (False, True)
        }
        self._shell = cast(Shell, self._shells[False, False])
        self.tools = ContainerTools(self)
        if hasattr(self.host, "features"):
            self.features = ContainerFeatures(self.host)

    @classmethod
    def type_name(cls) -> str:
        """Return the name by which LISA's factory knows this kind of node."""
        return "container_node"

    @classmethod
    def type_schema(cls) -> type[schema.TypedSchema]:
        """Return LISA's schema of a guest: such a node is in no runbook."""
        return schema.GuestNode

    @classmethod
    def of(cls, container: Container) -> ContainerNode:
        """Return the node of a started container."""
        host = container.host
        runbook = schema.GuestNode(
            type=cls.type_name(), name=container.name, is_default=host.is_default
        )
        runbook.capability = copy.deepcopy(host.capability)
        node = cls(
            runbook=runbook,
            index=-1,
            logger_name=container.name,
            is_test_target=False,
            parent_logger=host.log,
            parent=host,
            container=container,
        )
        node.initialize()  # as LISA's own nodes are when a case gets them: `node.os` is there
        return node

    @property
    def config(self) -> ContainerTestConfig:
        """Config of the container."""
        return self.executor.config

    @property
    def host(self) -> Node:
        """Node that the container runs on."""
        assert self.parent is not None  # LISA's GuestNode asserts it, too
        return self.parent

    @property
    def is_remote(self) -> bool:
        """True: files must be copied into the container, on a local node too."""
        return True

    @property
    def is_posix(self) -> bool:
        """True: containers run Linux."""
        return True

    @property
    def support_sudo(self) -> bool:
        """True: the engine starts the command as root, without sudo in the image."""
        return True

    @property
    def connection_info(self) -> dict[str, Any]:
        """Connection information like a remote node's, with the container's address."""
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
        """IP address of the container, or of its host if the container has none of its own."""
        own = find_address(self.executor.inspect())
        parent = getattr(self.host, "internal_address", "") or "127.0.0.1"
        return own or str(parent)

    def execute_async(self, cmd: str, *args: Any, **kwargs: Any) -> Process:
        """Start a command, as LISA's node does; mask its secrets in LISA's log first."""
        protect(secret_values(kwargs.get("update_envs")) | secrets_in_command(cmd))
        return super().execute_async(cmd, *args, **kwargs)

    def reboot(self, time_out: int = 300) -> None:
        """Restart the container: its processes end, its files stay.

        Args:
            time_out: Ignored; LISA's signature has it.
        """
        self.executor.restart()

    def find_partition_with_freespace(
        self, size_in_gb: int, use_os_drive: bool = True, raise_error: bool = True
    ) -> str:
        """Return the container's root if it has the space; its node's disks are not offered.

        LISA's own method mounts and formats disks that look free. In a container the engine's
        mounts (`/etc/hosts`) look like partitions, and disks that the node uses look free.

        Args:
            size_in_gb: Required space, in GiB.
            use_os_drive: Whether the root may be returned.
            raise_error: Whether to raise if there is no such space; otherwise the answer is empty.

        Raises:
            LisaException: There is no such space.
        """
        root = "/"
        may_use = use_os_drive and not self.config.read_only
        if may_use and self.tools[Df].get_filesystem_available_space(root, True) >= size_in_gb:
            return root
        if raise_error:
            raise LisaException(
                f"{self.executor!r}: its root has not {size_in_gb} GiB of free space that may be "
                "used, and a container is not given its node's disks. Free space on the node, or "
                "mount a folder that has it (volumes) and use its path."
            )
        return ""

    def cleanup(self) -> None:
        """Remove the container, and its own guests before."""
        guests = list(self.guests)
        self.guests.clear()
        for guest in guests:
            guest.cleanup()
        self.executor.stop()
        release_lease(self.host)

    def close(self) -> None:
        """End running commands (see `ContainerShell.close`); the container lives on.

        LISA closes its nodes after each case.
        """
        for shell in self._shells.values():
            shell.close()
        self._nics = None

    def test_connection(self) -> bool:
        """Return whether the container runs and executes commands."""
        return self.executor.is_running and super().test_connection()

    def __repr__(self) -> str:
        """Return the container's name, image and node, for messages."""
        return repr(self.executor)

    def _initialize(self, *args: Any, **kwargs: Any) -> None:
        self._provision()
        try:
            self.os: OperatingSystem = OperatingSystem.create(self)
        except LisaException as error:
            # The image may have no distribution that LISA knows.
            self.log.debug(f"{printable(error)}; taken for a plain Linux")
            self.os = Linux(self)

    def _provision(self) -> None:
        self.host.initialize()
        self.executor.start()

    def _make_container(self) -> Container:
        """Return the container of a node that was made without one."""
        raise TypeError("ContainerNode needs a container; use ContainerNode.of(container)")

    def _execute(
        self,
        cmd: str,
        shell: bool = False,
        sudo: bool = False,
        nohup: bool = False,
        no_error_log: bool = False,
        no_info_log: bool = False,
        no_debug_log: bool = False,
        cwd: PurePath | None = None,
        update_envs: dict[str, str] | None = None,
        encoding: str = "",
        command_splitter: Callable[..., list[str]] = process_command,
    ) -> Process:
        def split(*args: Any) -> list[str]:
            return _MaskedWords(command_splitter(*args))

        # Not by the programs sudo and nohup, which some images lack.
        own = cast(Shell, self._shells[sudo, nohup])
        process = Process(str(randint(0, 10000)), own, parent_logger=self.log)
        process.start(
            cmd,
            shell=shell,
            no_error_log=no_error_log,
            no_info_log=no_info_log,
            no_debug_log=no_debug_log,
            cwd=cwd,
            update_envs=update_envs,
            encoding=encoding or self._encoding,
            command_splitter=split,
        )
        return process


class _MaskedWords(list[str]):
    """Words of a command, which LISA logs and puts into errors: shown without secrets."""

    def __repr__(self) -> str:
        """Return the words, masked as in the records."""
        return repr(KNOWN.words(self))
