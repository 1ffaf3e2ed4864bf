"""LISA platform `type: sandbox`, which creates nodes for each environment on this machine."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lisa import schema
from lisa.environment import Environment
from lisa.feature import Feature
from lisa.node import Node
from lisa.platform_ import Platform
from lisa.secret import add_secret
from lisa.sut_orchestrator.ready import ReadyPlatform
from lisa.util import NotMeetRequirementException, constants
from lisa.util.logger import Logger

from lisa_container.config.checks import illegal
from lisa_container.errors import SandboxError
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
from lisa_container.platforms.throw_away import (
    Running,
    capability_of,
    connect,
    meet_requirements,
    read_schema,
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
        self._running: Running[Sandbox] = Running()

    @classmethod
    def type_name(cls) -> str:
        """Return the platform's `type` in a runbook."""
        return SANDBOX

    @classmethod
    def supported_features(cls) -> list[type[Feature]]:
        """Return the features of LISA's `ready` platform."""
        return ReadyPlatform.supported_features()

    def _initialize(self, *args: Any, **kwargs: Any) -> None:
        runbook = self._schema()
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
        capability = capability_of(*cores_and_memory())
        return meet_requirements(
            environment, capability, self.supported_features(), "a sandbox node"
        )

    def _deploy_environment(self, environment: Environment, log: Logger) -> None:
        requirements = environment.runbook.nodes_requirement or []
        if not requirements:
            return
        sandbox = Sandbox(self._config(count=len(requirements)), log)
        self._running.add(sandbox)
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
            self._running.stop(sandbox)

    def _cleanup(self) -> None:
        self._running.stop_all(
            lambda: self._log.info("the run ends: stopping the nodes that keep_environment kept")
        )

    def _get_environment_information(self, environment: Environment) -> dict[str, str]:
        sandbox = environment.get_context(SandboxContext).sandbox
        return {"sandbox_nodes": str(len(sandbox.nodes))} if sandbox else {}

    def _schema(self) -> SandboxPlatformSchema:
        runbook: SandboxPlatformSchema = read_schema(self.runbook, SandboxPlatformSchema, SANDBOX)
        return runbook

    def _config(self, count: int) -> SandboxConfig:
        values = asdict(self._schema())
        del values["login"]
        # Relative paths start at the runbook's folder, as everywhere in LISA.
        for name in ("rootfs", "cache_dir"):
            if values[name]:
                values[name] = str(Path(constants.RUNBOOK_PATH, values[name]))
        return SandboxConfig(count=count, user=self.runbook.admin_username, **values)

    def _connect(self, node: Node, made: SandboxNode, requirement: schema.NodeSpace) -> None:
        by_password = self._login == LOGIN_PASSWORD_USER
        names = {
            LOGIN_USER: made.username,
            LOGIN_PASSWORD_USER: made.password_username,
            LOGIN_ROOT: "root",
        }
        if by_password:
            add_secret(made.password)
        connect(
            node,
            made.name,
            requirement,
            made.address,
            made.port,
            username=names[self._login],
            password=made.password if by_password else "",
            private_key_file="" if by_password else str(made.private_key_file),
        )


def _save_logs(sandbox: Sandbox, folder: Path) -> None:
    """Save the nodes' logs, for the analysis of failed cases."""
    for node in sandbox.nodes:
        # A test may have broken the node. Missing logs must not fail the run.
        with suppress(OSError, SandboxError):
            (folder / f"{node.name}-console.log").write_text(node.console, encoding="utf-8")
            engine = node.run("cat /var/log/docker.log", check=False, timeout=10)
            if engine.returncode == 0:
                (folder / f"{node.name}-docker.log").write_text(engine.stdout, encoding="utf-8")
