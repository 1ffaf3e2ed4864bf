"""Throw-away nodes on this machine. To a test, each node looks like a separate machine.

    with start_sandbox(2) as sandbox:
        print(sandbox.nodes[0].run("docker info").stdout)

In a runbook, use the platform `type: sandbox`; see `lisa_platform`.
"""

from lisa_container.platforms.sandbox.config import DockerMode, SandboxConfig
from lisa_container.platforms.sandbox.machine import REQUIRED_PACKAGES, Problem, preflight
from lisa_container.platforms.sandbox.sandbox import Sandbox, SandboxNode, start_sandbox

__all__ = [
    "REQUIRED_PACKAGES",
    "DockerMode",
    "Problem",
    "Sandbox",
    "SandboxConfig",
    "SandboxNode",
    "preflight",
    "start_sandbox",
]
