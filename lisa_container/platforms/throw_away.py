"""Parts of LISA platforms whose nodes are started for an environment and end with the run."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Callable, Generic, Protocol, TypeVar, Union, cast

from lisa import feature, schema, search_space
from lisa.environment import Environment
from lisa.feature import Feature
from lisa.node import Node, RemoteNode
from lisa.util import NotMeetRequirementException
from lisa.util.shell import SshShell
from marshmallow import ValidationError

from lisa_container.engine.reach import require_login
from lisa_container.errors import ConfigError

_SSH_PORT = 22
Count = Union[int, search_space.IntRange]


class _Stoppable(Protocol):
    def stop(self) -> None: ...


T = TypeVar("T", bound=_Stoppable)


class Running(Generic[T]):
    """Sandboxes or VMs of a platform that run now."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._items: list[T] = []

    def add(self, item: T) -> None:
        """Add one before its start, so that it is stopped also if the start fails."""
        with self._lock:
            self._items.append(item)

    def stop(self, item: T) -> None:
        """Stop one, and forget it."""
        with self._lock:
            if item in self._items:
                self._items.remove(item)
        item.stop()

    def stop_all(self, report: Callable[[], None]) -> None:
        """Stop those that `keep_environment` kept until now.

        Args:
            report: Function called before each stop.
        """
        with self._lock:
            remaining = list(self._items)
        for item in remaining:
            report()
            self.stop(item)


def read_schema(runbook: schema.ExtendableSchemaMixin, kind: type[Any], name: str) -> Any:
    """Return the platform's own part of a runbook.

    Args:
        runbook: The platform in the runbook, or the requirement of a node.
        kind: Schema of that part.
        name: Type of the platform, which is also the name of that part.

    Raises:
        ConfigError: A field is unknown, or of the wrong type.
    """
    try:
        return runbook.get_extended_runbook(kind, name)
    except ValidationError as error:
        legal = ", ".join(each.name for each in fields(kind))
        raise ConfigError(
            f"{name}: the runbook's platform has errors: {error.messages}; legal fields are {legal}"
        ) from error


def capability_of(core_count: Count, memory_mib: Count) -> schema.NodeSpace:
    """Return the capability of a node with one network interface and without data disks.

    Args:
        core_count: Number of processors.
        memory_mib: Memory in MiB.
    """
    capability = schema.NodeSpace(
        node_count=1, core_count=core_count, memory_mb=memory_mib, gpu_count=0
    )
    capability.disk = schema.DiskOptionSettings(data_disk_count=0, max_data_disk_count=0)
    capability.network_interface = schema.NetworkInterfaceOptionSettings(
        data_path=search_space.SetSpace(items=[schema.NetworkDataPath.Synthetic]),
        nic_count=1,
        max_nic_count=1,
    )
    capability.features = search_space.SetSpace[schema.FeatureSettings](is_allow_set=True)
    return capability


def meet_requirements(
    environment: Environment,
    capability: schema.NodeSpace,
    features: Sequence[type[Feature]],
    what: str,
) -> bool:
    """Choose values for what an environment requires; return whether it has nodes.

    Args:
        environment: Environment of a case.
        capability: Capability of each node.
        features: Features of each node.
        what: Words for a node in the message of the error.

    Raises:
        NotMeetRequirementException: A node cannot be as required.
    """
    chosen = []
    for requirement in environment.runbook.nodes_requirement or []:
        check = requirement.check(capability)
        if not check.result:
            raise NotMeetRequirementException(
                f"{what} cannot meet the requirement: {check.reasons}"
            )
        value = requirement.choose_value(capability)
        if capability.disk and not capability.disk.data_disk_count:
            # choose_value() reads a disk count of 0 as "any".
            value.disk = copy.deepcopy(capability.disk)
        chosen.append(value)
    if chosen:
        environment.runbook.nodes_requirement = chosen
        environment.cost = len(chosen)
    for node in environment.nodes.list():
        feature.reload_platform_features(node.capability, list(features))
    return bool(chosen or len(environment.nodes))


def connect(
    node: Node,
    name: str,
    requirement: schema.NodeSpace,
    address: str,
    port: int,
    username: str,
    internal_address: str = "",
    password: str = "",
    private_key_file: str = "",
) -> None:
    """Tell LISA where a started node is, and log in.

    Args:
        node: Node that LISA made for the requirement.
        name: Name of the node, unless the requirement has one.
        requirement: Requirement that the node meets.
        address: Address of sshd.
        port: Port of sshd.
        username: User who logs in.
        internal_address: Address at which other nodes reach the node; empty means `address`.
        password: Password of the user; empty where there is a key.
        private_key_file: Private key of the user; empty where there is a password.

    Raises:
        UnreachableError: The node does not answer, or refuses the login.
    """
    node.name = requirement.name or name
    node.capability = cast(schema.Capability, requirement)
    cast(RemoteNode, node).set_connection_info(
        address=internal_address or address,
        port=_SSH_PORT if internal_address else port,
        public_address=address,
        public_port=port,
        username=username,
        password=password,
        private_key_file=private_key_file,
    )
    # LISA would wait for minutes.
    require_login(cast(SshShell, node.shell))
