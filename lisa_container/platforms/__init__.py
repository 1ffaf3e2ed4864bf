"""LISA platforms. Importing this package registers them with LISA."""

from lisa_container.platforms.sandbox.lisa_platform import SandboxPlatform

__all__ = ["SandboxPlatform"]
