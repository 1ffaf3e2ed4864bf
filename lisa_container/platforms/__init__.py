"""LISA platforms: where nodes come from. Importing this makes them known to LISA."""

from lisa_container.platforms.sandbox.lisa_platform import SandboxPlatform

__all__ = ["SandboxPlatform"]
