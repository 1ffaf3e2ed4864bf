"""LISA platform `type: microvm`, which starts virtual machines for each environment."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lisa import schema, search_space
from lisa.environment import Environment
from lisa.feature import Feature
from lisa.node import Node
from lisa.platform_ import Platform
from lisa.util import constants
from lisa.util.logger import Logger

from lisa_container.masking import Plain
from lisa_container.microvm import ImageConfig, MicroVm, VmConfig
from lisa_container.platforms.microvm.features import MicroVmContext, SerialConsole, StartStop
from lisa_container.platforms.microvm.schema import MicroVmPlatformSchema
from lisa_container.platforms.throw_away import (
    Running,
    capability_of,
    connect,
    meet_requirements,
    read_schema,
)
from lisa_container.system import memory_of_machine

MICROVM = "microvm"

_OF_IMAGE = ("suite", "mirror", "packages", "files", "docker", "modules", "disk_gib", "cache_dir")
_PATHS = ("kernel", "modules", "cache_dir")
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
        self._running: Running[MicroVm] = Running()

    @classmethod
    def type_name(cls) -> str:
        """Return the platform's `type` in a runbook."""
        return MICROVM

    @classmethod
    def supported_features(cls) -> list[type[Feature]]:
        """Return the serial console, and switching off and on."""
        return [SerialConsole, StartStop]

    def _initialize(self, *args: Any, **kwargs: Any) -> None:
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
        return meet_requirements(
            environment, self._capability(), self.supported_features(), "a microvm"
        )

    def _deploy_environment(self, environment: Environment, log: Logger) -> None:
        requirements = environment.runbook.nodes_requirement or []
        context = environment.get_context(EnvironmentVms)
        for index, requirement in enumerate(requirements):
            name = f"{self._schema().name}{index}"
            cores, memory_mib = requirement.core_count, requirement.memory_mb
            assert isinstance(cores, int) and isinstance(memory_mib, int), "chosen values"
            vm = MicroVm(self._config(name, cores, memory_mib), log)
            self._running.add(vm)
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
            self._running.stop(vm)

    def _cleanup(self) -> None:
        self._running.stop_all(
            lambda: self._log.info("the run ends: stopping the VMs that keep_environment kept")
        )

    def _schema(self) -> MicroVmPlatformSchema:
        runbook: MicroVmPlatformSchema = read_schema(self.runbook, MicroVmPlatformSchema, MICROVM)
        return runbook

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
        capability = capability_of(
            search_space.IntRange(min=runbook.cores, max=_MOST_CORES),
            search_space.IntRange(min=runbook.memory_mib, max=memory_of_machine()),
        )
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
            username=vm.user,
            private_key_file=str(vm.private_key),
        )
