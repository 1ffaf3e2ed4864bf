"""The LISA tool `DockerAdvanced`."""

from __future__ import annotations

from lisa_container.docker_advanced.tool import DockerAdvanced

__all__ = ["DockerAdvanced"]
