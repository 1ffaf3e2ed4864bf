"""LISA platform `type: microvm`, which starts virtual machines for each environment."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from lisa import feature, schema, search_space
from lisa.environment import Environment
from lisa.feature import Feature
from lisa.node import Node, RemoteNode
from lisa.platform_ import Platform
from lisa.util import NotMeetRequirementException, constants
from lisa.util.logger import Logger
from lisa.util.shell import SshShell
from marshmallow import ValidationError

from lisa_container.engine.reach import require_login
from lisa_container.errors import ConfigError
from lisa_container.masking import Plain
from lisa_container.microvm import ImageConfig, MicroVm, VmConfig
from lisa_container.platforms.microvm.features import MicroVmContext, SerialConsole, StartStop
from lisa_container.platforms.microvm.schema import MicroVmPlatformSchema

MICROVM = "microvm"

_OF_IMAGE = ("suite", "mirror", "packages", "files", "docker", "modules", "disk_gib", "cache_dir")
_PATHS = ("kernel", "modules", "cache_dir")
_MIB = 1 << 20
_MOST_CORES = 64


@dataclass
class EnvironmentVms:
    """VMs of a LISA environment."""

    vms: list[MicroVm] = field(default_factory=list)


class MicroVmPlatform(Platform):
    """Platform with throw-away virtual machines on this machine, reached over SSH.

    The VMs end with the runner, even if it is killed. `keep_environment` keeps them until then.
    """

    def __init__(self, runbook: schema.Platform) -> None:
        """Begin without VMs."""
        super().__init__(runbook)
        self._lock = threading.Lock()
        self._running: list[MicroVm] = []

    @classmethod
    def type_name(cls) -> str:
        """Return the platform's `type` in a runbook."""
        return MICROVM

    @classmethod
    def supported_features(cls) -> list[type[Feature]]:
        """Return the serial console, and switching off and on."""
        return [SerialConsole, StartStop]

    def _initialize(self, *args: Any, **kwargs: Any) -> None:
        try:
            self._schema()
        except ValidationError as error:
            legal = ", ".join(each.name for each in fields(MicroVmPlatformSchema))
            raise ConfigError(
                f"microvm: the runbook's platform has errors: {error.messages}; legal fields are"
                f" {legal}"
            ) from error
        # Check now, so that an illegal value stops the run before the first environment.
        self._config("node0", self._schema().cores, self._schema().memory_mib)
        if self.runbook.keep_environment != constants.ENVIRONMENT_KEEP_NO:
            self._log.warning(
                Plain(
                    f"keep_environment is '{self.runbook.keep_environment}', but VMs of the"
                    " platform 'microvm' always end with this run"
                )
            )

    def _prepare_environment(self, environment: Environment, log: Logger) -> bool:
        requirements = environment.runbook.nodes_requirement or []
        capability = self._capability()
        chosen = []
        for requirement in requirements:
            check = requirement.check(capability)
            if not check.result:
                raise NotMeetRequirementException(
                    f"a microvm cannot meet the requirement: {check.reasons}"
                )
            chosen.append(requirement.choose_value(capability))
        if requirements:
            environment.runbook.nodes_requirement = chosen
            environment.cost = len(chosen)
        for node in environment.nodes.list():
            feature.reload_platform_features(node.capability, self.supported_features())
        return bool(chosen or len(environment.nodes))

    def _deploy_environment(self, environment: Environment, log: Logger) -> None:
        requirements = environment.runbook.nodes_requirement or []
        context = environment.get_context(EnvironmentVms)
        for index, requirement in enumerate(requirements):
            name = f"{self._schema().name}{index}"
            cores, memory_mib = requirement.core_count, requirement.memory_mb
            assert isinstance(cores, int) and isinstance(memory_mib, int), "chosen values"
            vm = MicroVm(self._config(name, cores, memory_mib), log)
            with self._lock:
                self._running.append(vm)
            context.vms.append(vm)
            vm.start()
            node = environment.create_node_from_requirement(requirement)
            self._connect(node, vm, requirement)

    def _delete_environment(self, environment: Environment, log: Logger) -> None:
        context = environment.get_context(EnvironmentVms)
        vms, context.vms = context.vms, []
        for vm in vms:
            # Missing logs must not fail the run.
            with suppress(OSError):
                file = environment.log_path / f"{vm.name}-console.log"
                file.write_text(vm.console, encoding="utf-8", errors="surrogateescape")
            self._stop(vm)

    def _cleanup(self) -> None:
        with self._lock:
            remaining = list(self._running)
        for vm in remaining:
            self._log.info("the run ends: stopping the VMs that keep_environment kept")
            self._stop(vm)

    def _stop(self, vm: MicroVm) -> None:
        with self._lock:
            if vm in self._running:
                self._running.remove(vm)
        vm.stop()

    def _schema(self) -> MicroVmPlatformSchema:
        runbook = self.runbook.get_extended_runbook(MicroVmPlatformSchema, MICROVM)
        return cast(MicroVmPlatformSchema, runbook)

    def _config(self, name: str, cores: int, memory_mib: int) -> VmConfig:
        values = asdict(self._schema())
        # Relative paths start at the runbook's folder, as everywhere in LISA.
        for path in _PATHS:
            if values[path]:
                values[path] = str(Path(constants.RUNBOOK_PATH, values[path]))
        values["files"] = {
            target: str(Path(constants.RUNBOOK_PATH, source))
            for target, source in values["files"].items()
        }
        image = {name: values[name] for name in _OF_IMAGE}
        # A kernel with modules is a part of the image, one without only of the VM.
        has_modules = bool(values["modules"])
        return VmConfig(
            name=name,
            cores=cores,
            memory_mib=memory_mib,
            image=ImageConfig(
                user=self.runbook.admin_username,
                kernel=values["kernel"] if has_modules else "",
                **image,
            ),
            kernel="" if has_modules else values["kernel"],
            options=values["options"],
            ready_seconds=values["ready_seconds"],
        )

    def _capability(self) -> schema.NodeSpace:
        """Return the capability of a node: from the runbook's values to the machine's."""
        runbook = self._schema()
        memory_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _MIB
        capability = schema.NodeSpace(
            node_count=1,
            core_count=search_space.IntRange(min=runbook.cores, max=_MOST_CORES),
            memory_mb=search_space.IntRange(min=runbook.memory_mib, max=memory_mib),
            gpu_count=0,
        )
        capability.disk = schema.DiskOptionSettings(data_disk_count=0, max_data_disk_count=0)
        capability.network_interface = schema.NetworkInterfaceOptionSettings(
            data_path=search_space.SetSpace(items=[schema.NetworkDataPath.Synthetic]),
            nic_count=1,
            max_nic_count=1,
        )
        capability.features = search_space.SetSpace[schema.FeatureSettings](
            is_allow_set=True,
            items=[schema.FeatureSettings.create(x.name()) for x in self.supported_features()],
        )
        return capability

    def _connect(self, node: Node, vm: MicroVm, requirement: schema.NodeSpace) -> None:
        node.name = requirement.name or vm.name
        node.capability = cast(schema.Capability, requirement)
        node.get_context(MicroVmContext).vm = vm
        cast(RemoteNode, node).set_connection_info(
            address=vm.address,
            port=vm.port,
            public_port=vm.port,
            username=vm.user,
            private_key_file=str(vm.private_key),
        )
        # LISA would wait for minutes.
        require_login(cast(SshShell, node.shell))
