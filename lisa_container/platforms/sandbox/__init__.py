"""Throw-away nodes on this very machine, each a machine of its own as far as a test can see.

    with start_sandbox(2) as sandbox:
        print(sandbox.nodes[0].run("docker info").stdout)

From a runbook it is the platform `type: sandbox`, see `lisa_platform`.
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
