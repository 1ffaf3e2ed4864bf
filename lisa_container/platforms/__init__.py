"""LISA platforms. Importing this package registers them with LISA."""

from lisa_container.platforms.microvm.lisa_platform import MicroVmPlatform
from lisa_container.platforms.sandbox.lisa_platform import SandboxPlatform

__all__ = ["MicroVmPlatform", "SandboxPlatform"]
