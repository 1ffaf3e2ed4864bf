"""Run Microsoft LISA test suites inside containers on remote nodes."""

from lisa_container.capture.normalise import normalise
from lisa_container.capture.snapshot import assert_output_matches
from lisa_container.command import CommandResult, RunningCommand
from lisa_container.config import ContainerSettings, ContainerTestConfig, PullPolicy, Scope
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
from lisa_container.many import start_all, stop_all
from lisa_container.node import ContainerNode
from lisa_container.platforms import SandboxPlatform
from lisa_container.settings import use_settings
from lisa_container.suite import ContainerTestSuite, container_test

__all__ = [
    "CommandNotStartedError",
    "CommandResult",
    "CommandTimeoutError",
    "ConfigError",
    "ContainerDiedError",
    "ContainerError",
    "ContainerExecutor",
    "ContainerNode",
    "ContainerSettings",
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
