"""Run Microsoft LISA test suites inside containers on remote nodes."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lisa_container.config import (
        ContainerSettings,
        ContainerTestConfig,
        Init,
        PullPolicy,
        Scope,
    )
    from lisa_container.config.current import use_settings
    from lisa_container.container.command import RunningCommand
    from lisa_container.container.parallel import start_all, stop_all
    from lisa_container.container.result import CommandResult
    from lisa_container.docker_advanced import DockerAdvanced
    from lisa_container.errors import (
        CommandNotStartedError,
        CommandTimeoutError,
        ConfigError,
        ContainerDiedError,
        ContainerError,
        CopyDeniedError,
        CopyError,
        CopyNotFoundError,
        EngineError,
        EngineNotFoundError,
        EngineTimeoutError,
        ImageNotFoundError,
        KillError,
        NameTakenError,
        NoSpaceError,
        PlanError,
        SnapshotError,
        SnapshotMismatchError,
        SnapshotMissingError,
        SshLostError,
        SudoError,
    )
    from lisa_container.executor import ContainerExecutor
    from lisa_container.guest import ContainerGuest
    from lisa_container.node import ContainerNode
    from lisa_container.notifiers.settings import ContainerSettingsNotifier
    from lisa_container.platforms import SandboxPlatform
    from lisa_container.snapshots import assert_output_matches
    from lisa_container.snapshots.normalise import normalise
    from lisa_container.suite import ContainerTestSuite, container_test

__all__ = [
    "CommandNotStartedError",
    "CommandResult",
    "CommandTimeoutError",
    "ConfigError",
    "ContainerDiedError",
    "ContainerError",
    "ContainerExecutor",
    "ContainerGuest",
    "ContainerNode",
    "ContainerSettings",
    "ContainerSettingsNotifier",
    "ContainerTestConfig",
    "ContainerTestSuite",
    "CopyDeniedError",
    "CopyError",
    "CopyNotFoundError",
    "DockerAdvanced",
    "EngineError",
    "EngineNotFoundError",
    "EngineTimeoutError",
    "ImageNotFoundError",
    "Init",
    "KillError",
    "NameTakenError",
    "NoSpaceError",
    "PlanError",
    "PullPolicy",
    "RunningCommand",
    "SandboxPlatform",
    "Scope",
    "SnapshotError",
    "SnapshotMismatchError",
    "SnapshotMissingError",
    "SshLostError",
    "SudoError",
    "assert_output_matches",
    "container_test",
    "normalise",
    "start_all",
    "stop_all",
    "use_settings",
]

# Where each is: imported when it is asked for, so that the command line answers before LISA is
# imported, which takes a second.
_MODULES = {
    "CommandNotStartedError": "lisa_container.errors",
    "CommandResult": "lisa_container.container.result",
    "CommandTimeoutError": "lisa_container.errors",
    "ConfigError": "lisa_container.errors",
    "ContainerDiedError": "lisa_container.errors",
    "ContainerError": "lisa_container.errors",
    "ContainerExecutor": "lisa_container.executor",
    "ContainerGuest": "lisa_container.guest",
    "ContainerNode": "lisa_container.node",
    "ContainerSettings": "lisa_container.config",
    "ContainerSettingsNotifier": "lisa_container.notifiers.settings",
    "ContainerTestConfig": "lisa_container.config",
    "ContainerTestSuite": "lisa_container.suite",
    "CopyDeniedError": "lisa_container.errors",
    "CopyError": "lisa_container.errors",
    "CopyNotFoundError": "lisa_container.errors",
    "DockerAdvanced": "lisa_container.docker_advanced",
    "EngineError": "lisa_container.errors",
    "EngineNotFoundError": "lisa_container.errors",
    "EngineTimeoutError": "lisa_container.errors",
    "ImageNotFoundError": "lisa_container.errors",
    "KillError": "lisa_container.errors",
    "NameTakenError": "lisa_container.errors",
    "NoSpaceError": "lisa_container.errors",
    "PlanError": "lisa_container.errors",
    "Init": "lisa_container.config",
    "PullPolicy": "lisa_container.config",
    "RunningCommand": "lisa_container.container.command",
    "SandboxPlatform": "lisa_container.platforms",
    "Scope": "lisa_container.config",
    "SnapshotError": "lisa_container.errors",
    "SnapshotMismatchError": "lisa_container.errors",
    "SnapshotMissingError": "lisa_container.errors",
    "SshLostError": "lisa_container.errors",
    "SudoError": "lisa_container.errors",
    "assert_output_matches": "lisa_container.snapshots",
    "container_test": "lisa_container.suite",
    "normalise": "lisa_container.snapshots.normalise",
    "start_all": "lisa_container.container.parallel",
    "stop_all": "lisa_container.container.parallel",
    "use_settings": "lisa_container.config.current",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# In a run of LISA, importing this package registers its guest and platform types, and listens.
if "lisa" in sys.modules:
    for _name in __all__:
        __getattr__(_name)
