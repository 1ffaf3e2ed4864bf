"""Runbook schema of the platform `type: microvm`.

This module has no postponed annotations, because dataclasses-json needs the types themselves.
"""

from dataclasses import dataclass, field

from dataclasses_json import dataclass_json


@dataclass_json()
@dataclass
class MicroVmPlatformSchema:
    """Fields below `microvm:` of a platform with `type: microvm`.

    The user's name is the platform's `admin_username`. `VmConfig` and `ImageConfig` explain the
    other fields.

    Attributes:
        cores: number of processors, unless a case asks for more.
        memory_mib: memory in MiB, unless a case asks for more.
        name: prefix of the host names; a number follows.
    """

    cores: int = 2
    memory_mib: int = 512
    name: str = "node"
    kernel: str = ""
    modules: str = ""
    options: str = ""
    suite: str = ""
    mirror: str = ""
    packages: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    docker: bool = True
    disk_gib: int = 8
    cache_dir: str = ""
    ready_seconds: float = 30
