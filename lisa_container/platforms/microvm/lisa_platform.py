"""LISA platform `type: microvm`, which starts virtual machines for each environment."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from lisa import schema, search_space
from lisa.environment import Environment
from lisa.feature import Feature
from lisa.node import Node
from lisa.platform_ import Platform
from lisa.tools import ResizePartition
from lisa.util import UnsupportedDistroException, constants
from lisa.util.logger import Logger

from lisa_container.cases.current import reported_result
from lisa_container.cases.failures import call_at_failure, call_no_more
from lisa_container.config.checks import illegal
from lisa_container.masking import Plain
from lisa_container.microvm import MicroVm
from lisa_container.microvm.config import MOST_DATA_DISKS, MOST_NICS
from lisa_container.platforms.microvm.configs import (
    MICROVM,
    node_schema,
    platform_schema,
    vm_config,
)
from lisa_container.platforms.microvm.features import (
    Disk,
    MicroVmContext,
    NetworkInterface,
    SerialConsole,
    StartStop,
)
from lisa_container.platforms.microvm.freezer import Freezer
from lisa_container.platforms.microvm.networks import EnvironmentNetworks, data_disks_of
from lisa_container.platforms.throw_away import Running, capability_of, connect, meet_requirements
from lisa_container.system import memory_of_machine

_MOST_CORES = 64


@dataclass
class EnvironmentVms:
    """VMs of a LISA environment."""

    vms: list[MicroVm] = field(default_factory=list)


class MicroVmPlatform(Platform):
    """Platform with throw-away virtual machines on this machine, reached over SSH.

    The VMs end with the runner, even if it is killed. `keep_environment` freezes those of failed
    cases: copies of their memory and disks stay in the folders of the cases.
    """

    def __init__(self, runbook: schema.Platform) -> None:
        """Begin without VMs."""
        super().__init__(runbook)
        self._running: Running[MicroVm] = Running()
        self._freezer: Freezer | None = None
        self.keep_environment = str(runbook.keep_environment)
        """Value of `keep_environment` in the runbook."""

    @classmethod
    def type_name(cls) -> str:
        """Return the platform's `type` in a runbook."""
        return MICROVM

    @classmethod
    def supported_features(cls) -> list[type[Feature]]:
        """Return the serial console, switching off and on, disks and network interfaces."""
        return [SerialConsole, StartStop, Disk, NetworkInterface]

    def _initialize(self, *args: Any, **kwargs: Any) -> None:
        # Check now, so that an illegal value stops the run before the first environment.
        platform = platform_schema(self.runbook)
        requirement = schema.load_by_type(schema.NodeSpace, self.runbook.requirement or {})
        node = node_schema(requirement)
        vm_config(self.runbook, node, "node0", platform.cores, platform.memory_mib)
        if platform.frozen_gib < 0:
            raise illegal(f"{MICROVM}, frozen_gib", platform.frozen_gib, "0 or more GiB")
        self._freezer = Freezer(self.keep_environment, platform.frozen_gib, self._log)
        call_at_failure(self._freezer.freeze)
        if self.keep_environment == constants.ENVIRONMENT_KEEP_FAILED:
            # The VM of a failed case is frozen. LISA would also skip all later cases on it.
            self.runbook.keep_environment = constants.ENVIRONMENT_KEEP_NO
        elif self.keep_environment == constants.ENVIRONMENT_KEEP_ALWAYS:
            self._log.warning(
                Plain(
                    "keep_environment is 'always', but VMs of the platform 'microvm' end with this"
                    " run; those of failed cases are frozen as well"
                )
            )

    def _prepare_environment(self, environment: Environment, log: Logger) -> bool:
        return meet_requirements(
            environment, self._capability(), self.supported_features(), "a microvm"
        )

    def _get_environment_information(self, environment: Environment) -> dict[str, str]:
        # LISA asks for this whenever it reports a case, first of all if the case has failed.
        result = reported_result()
        if result is not None and self._freezer is not None:
            self._freezer.follow(result, environment)
        return {}

    def _deploy_environment(self, environment: Environment, log: Logger) -> None:
        requirements = environment.runbook.nodes_requirement or []
        context = environment.get_context(EnvironmentVms)
        networks = EnvironmentNetworks(len(requirements))
        for index, requirement in enumerate(requirements):
            name = f"{platform_schema(self.runbook).name}{index}"
            cores, memory_mib = requirement.core_count, requirement.memory_mb
            assert isinstance(cores, int) and isinstance(memory_mib, int), "chosen values"
            fields = node_schema(requirement)
            config = vm_config(
                self.runbook,
                fields,
                name,
                cores,
                memory_mib,
                data_disks_of(requirement),
                networks.nics_of(requirement, index),
            )
            vm = MicroVm(config, log)
            self._running.add(vm)
            context.vms.append(vm)
            vm.start()
            node = environment.create_node_from_requirement(requirement)
            self._connect(node, vm, requirement)
            if fields.disk_img_resize_gib:
                # On distributions that LISA does not know, cloud-init has done this.
                with suppress(UnsupportedDistroException):
                    node.tools[ResizePartition].expand_os_partition()

    def _delete_environment(self, environment: Environment, log: Logger) -> None:
        context = environment.get_context(EnvironmentVms)
        vms, context.vms = context.vms, []
        for vm in vms:
            # Missing logs must not fail the run.
            with suppress(OSError):
                file = environment.log_path / f"{vm.name}-console.log"
                file.write_text(vm.console, encoding="utf-8", errors="surrogateescape")
            self._running.stop(vm)

    def _cleanup(self) -> None:
        if self._freezer is not None:
            call_no_more(self._freezer.freeze)
        self._running.stop_all(
            lambda: self._log.info("the run ends: stopping the VMs that keep_environment kept")
        )

    def _capability(self) -> schema.NodeSpace:
        """Return the capability of a node: from the runbook's values to the machine's."""
        runbook = platform_schema(self.runbook)
        capability = capability_of(
            search_space.IntRange(min=runbook.cores, max=_MOST_CORES),
            search_space.IntRange(min=runbook.memory_mib, max=memory_of_machine()),
        )
        capability.disk = schema.DiskOptionSettings(
            data_disk_count=search_space.IntRange(min=0, max=MOST_DATA_DISKS),
            data_disk_size=search_space.IntRange(min=1),
            max_data_disk_count=MOST_DATA_DISKS,
        )
        assert capability.network_interface is not None
        nics = search_space.IntRange(min=1, max=1 + MOST_NICS)
        capability.network_interface.nic_count = nics
        capability.network_interface.max_nic_count = 1 + MOST_NICS
        capability.features = search_space.SetSpace[schema.FeatureSettings](
            is_allow_set=True,
            items=[schema.FeatureSettings.create(x.name()) for x in self.supported_features()],
        )
        return capability

    def _connect(self, node: Node, vm: MicroVm, requirement: schema.NodeSpace) -> None:
        node.get_context(MicroVmContext).vm = vm
        connect(
            node,
            vm.name,
            requirement,
            vm.address,
            vm.port,
            internal_address=next(iter(vm.private_addresses), ""),
            username=vm.user,
            private_key_file=str(vm.private_key),
        )
