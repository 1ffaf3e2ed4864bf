"""Runbook schemas of the platform `type: microvm`.

This module has no postponed annotations, because dataclasses-json needs the types themselves.
"""

from dataclasses import dataclass, field
from typing import Any, Optional, Union

from dataclasses_json import dataclass_json

from lisa_container.microvm.freezing import DEFAULT_GIB


@dataclass_json()
@dataclass
class MicroVmPlatformSchema:
    """Fields below `microvm:` of a platform with `type: microvm`.

    The user's name is the platform's `admin_username`. `VmConfig` and `ImageConfig` explain the
    other fields, `ImageConfig` for images of Debian packages, and `RootImageConfig` if there is
    `root` or `archive`.

    Attributes:
        cores: number of processors, unless a case asks for more.
        memory_mib: memory in MiB, unless a case asks for more.
        name: prefix of the host names; a number follows.
        shares: folders of this machine that each VM mounts: mappings of the fields of `Share`.
        docker: whether Docker Engine is in the image and started; None means that an image of
            Debian packages has it, and no other.
        network_boot_timeout: LISA's name for `ready_seconds`, which counts if both are given.
        frozen_gib: most GiB that the frozen VMs of a run take (`keep_environment: failed`).
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
    shares: list[dict[str, Any]] = field(default_factory=list)
    docker: Optional[bool] = None
    root: str = ""
    archive: str = ""
    disk_gib: int = 8
    cache_dir: str = ""
    ready_seconds: Optional[float] = None
    network_boot_timeout: Optional[float] = None
    frozen_gib: float = DEFAULT_GIB


@dataclass_json()
@dataclass
class CloudInitSchema:
    """Fields below `cloud_init:` of a node.

    Attributes:
        extra_user_data: paths of files with further user data, relative to the runbook.
    """

    extra_user_data: Optional[Union[str, list[str]]] = None


@dataclass_json()
@dataclass
class MicroVmNodeSchema:
    """Fields below `microvm:` of a node's requirement, as LISA's platform `qemu` has them.

    Without a disk, the node's image is made of Debian packages.

    Attributes:
        qcow2: path of a disk with an operating system, in QEMU's own format.
        disk_img: path of such a disk in the format `disk_img_format`.
        disk_img_format: "qcow2" or "raw"; empty means that QEMU finds out.
        disk_img_resize_gib: size of the disk in GiB; None means the file's own.
        cloud_init: further data for cloud-init.
        firmware_type: "uefi" or "bios"; empty means UEFI.
    """

    qcow2: str = ""
    disk_img: str = ""
    disk_img_format: str = ""
    disk_img_resize_gib: Optional[int] = None
    cloud_init: Optional[CloudInitSchema] = None
    firmware_type: str = ""
