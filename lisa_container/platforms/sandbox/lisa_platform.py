"""LISA platform `type: sandbox`, which creates nodes for each environment on this machine."""

from __future__ import annotations

import copy
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

from lisa import feature, schema, search_space
from lisa.environment import Environment
from lisa.feature import Feature
from lisa.node import Node, RemoteNode
from lisa.platform_ import Platform
from lisa.secret import add_secret
from lisa.sut_orchestrator.ready import ReadyPlatform
from lisa.util import NotMeetRequirementException, constants
from lisa.util.logger import Logger
from lisa.util.shell import SshShell
from marshmallow import ValidationError

from lisa_container.config.checks import illegal
from lisa_container.engine.reach import require_login
from lisa_container.errors import ConfigError, SandboxError
from lisa_container.masking import Plain
from lisa_container.platforms.sandbox.config import MAX_NODES, SandboxConfig
from lisa_container.platforms.sandbox.machine import cores_and_memory, require
from lisa_container.platforms.sandbox.sandbox import Sandbox, SandboxNode
from lisa_container.platforms.sandbox.schema import (
    LOGIN_PASSWORD_USER,
    LOGIN_ROOT,
    LOGIN_USER,
    LOGINS,
    SandboxPlatformSchema,
)

SANDBOX = "sandbox"


@dataclass
class SandboxContext:
    """Sandbox of a LISA environment."""

    sandbox: Sandbox | None = None


class SandboxPlatform(Platform):
    """Platform with throw-away nodes on this machine, reached over SSH.

    The nodes end with the runner, even if it is killed. `keep_environment` keeps them until then.
    """

    def __init__(self, runbook: schema.Platform) -> None:
        """Begin without sandboxes."""
        super().__init__(runbook)
        self._lock = threading.Lock()
        self._sandboxes: list[Sandbox] = []

    @classmethod
    def type_name(cls) -> str:
        """Return the platform's `type` in a runbook."""
        return SANDBOX

    @classmethod
    def supported_features(cls) -> list[type[Feature]]:
        """Return the features of LISA's `ready` platform."""
        return ReadyPlatform.supported_features()

    def _initialize(self, *args: Any, **kwargs: Any) -> None:
        try:
            runbook: SandboxPlatformSchema = self.runbook.get_extended_runbook(
                SandboxPlatformSchema, SANDBOX
            )
        except ValidationError as error:
            legal = ", ".join(each.name for each in fields(SandboxPlatformSchema))
            raise ConfigError(
                f"sandbox: the runbook's platform has errors: {error.messages}; legal fields are"
                f" {legal}"
            ) from error
        if runbook.login not in LOGINS:
            raise illegal("sandbox.login", runbook.login, ", ".join(LOGINS))
        self._login = runbook.login
        # Check now, so that an illegal value stops the run before the first environment.
        self._config(count=1)
        require(self._config(count=1))
        if self.runbook.keep_environment != constants.ENVIRONMENT_KEEP_NO:
            self._log.warning(
                Plain(
                    f"keep_environment is '{self.runbook.keep_environment}', but sandbox nodes"
                    " always end with this run. For nodes that stay, start"
                    " `python -m lisa_container.platforms.sandbox up` and use the ready platform."
                )
            )

    def _prepare_environment(self, environment: Environment, log: Logger) -> bool:
        requirements = environment.runbook.nodes_requirement or []
        if len(requirements) > MAX_NODES:
            raise NotMeetRequirementException(
                f"{len(requirements)} nodes requested, but a sandbox has at most {MAX_NODES}"
            )
        capability = self._capability()
        chosen = []
        for requirement in requirements:
            check = requirement.check(capability)
            if not check.result:
                raise NotMeetRequirementException(
                    f"a sandbox node cannot meet the requirement: {check.reasons}"
                )
            value = requirement.choose_value(capability)
            # choose_value() reads a disk count of 0 as "any".
            value.disk = copy.deepcopy(capability.disk)
            chosen.append(value)
        if requirements:
            environment.runbook.nodes_requirement = chosen
            environment.cost = len(chosen)
        for node in environment.nodes.list():
            feature.reload_platform_features(node.capability, self.supported_features())
        return bool(chosen or len(environment.nodes))

    def _deploy_environment(self, environment: Environment, log: Logger) -> None:
        requirements = environment.runbook.nodes_requirement or []
        if not requirements:
            return
        sandbox = Sandbox(self._config(count=len(requirements)), log)
        with self._lock:
            self._sandboxes.append(sandbox)
        environment.get_context(SandboxContext).sandbox = sandbox
        sandbox.start()
        for requirement, made in zip(requirements, sandbox.nodes):
            node = environment.create_node_from_requirement(requirement)
            self._connect(node, made, requirement)

    def _delete_environment(self, environment: Environment, log: Logger) -> None:
        context = environment.get_context(SandboxContext)
        sandbox, context.sandbox = context.sandbox, None
        if sandbox:
            _save_logs(sandbox, environment.log_path)
            self._stop(sandbox)

    def _cleanup(self) -> None:
        with self._lock:
            remaining = list(self._sandboxes)
        for sandbox in remaining:
            self._log.info("the run ends: stopping the nodes that keep_environment kept")
            self._stop(sandbox)

    def _get_environment_information(self, environment: Environment) -> dict[str, str]:
        sandbox = environment.get_context(SandboxContext).sandbox
        return {"sandbox_nodes": str(len(sandbox.nodes))} if sandbox else {}

    def _stop(self, sandbox: Sandbox) -> None:
        with self._lock:
            if sandbox in self._sandboxes:
                self._sandboxes.remove(sandbox)
        sandbox.stop()

    def _config(self, count: int) -> SandboxConfig:
        runbook = cast(
            SandboxPlatformSchema, self.runbook.get_extended_runbook(SandboxPlatformSchema, SANDBOX)
        )
        values = asdict(runbook)
        del values["login"]
        # Relative paths start at the runbook's folder, as everywhere in LISA.
        for name in ("rootfs", "cache_dir"):
            if values[name]:
                values[name] = str(Path(constants.RUNBOOK_PATH, values[name]))
        return SandboxConfig(count=count, user=self.runbook.admin_username, **values)

    def _capability(self) -> schema.NodeSpace:
        """Return the capability of a node: the machine's cores and memory, no own devices."""
        cores, memory_mib = cores_and_memory()
        capability = schema.NodeSpace(
            node_count=1, core_count=cores, memory_mb=memory_mib, gpu_count=0
        )
        capability.disk = schema.DiskOptionSettings(data_disk_count=0, max_data_disk_count=0)
        capability.network_interface = schema.NetworkInterfaceOptionSettings(
            data_path=search_space.SetSpace(items=[schema.NetworkDataPath.Synthetic]),
            nic_count=1,
            max_nic_count=1,
        )
        capability.features = search_space.SetSpace[schema.FeatureSettings](is_allow_set=True)
        return capability

    def _connect(self, node: Node, made: SandboxNode, requirement: schema.NodeSpace) -> None:
        node.name = requirement.name or made.name
        node.capability = cast(schema.Capability, requirement)
        by_password = self._login == LOGIN_PASSWORD_USER
        names = {
            LOGIN_USER: made.username,
            LOGIN_PASSWORD_USER: made.password_username,
            LOGIN_ROOT: "root",
        }
        if by_password:
            add_secret(made.password)
        cast(RemoteNode, node).set_connection_info(
            address=made.address,
            port=made.port,
            public_port=made.port,
            username=names[self._login],
            password=made.password if by_password else "",
            private_key_file="" if by_password else str(made.private_key_file),
        )
        # LISA would wait for minutes.
        require_login(cast(SshShell, node.shell))


def _save_logs(sandbox: Sandbox, folder: Path) -> None:
    """Save the nodes' logs, for the analysis of failed cases."""
    for node in sandbox.nodes:
        # A test may have broken the node. Missing logs must not fail the run.
        with suppress(OSError, SandboxError):
            (folder / f"{node.name}-console.log").write_text(node.console, encoding="utf-8")
            engine = node.run("cat /var/log/docker.log", check=False, timeout=10)
            if engine.returncode == 0:
                (folder / f"{node.name}-docker.log").write_text(engine.stdout, encoding="utf-8")
