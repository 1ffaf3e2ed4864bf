"""Configs of VMs from the parts of a runbook: the platform's and a node's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from lisa import schema
from lisa.util import constants

from lisa_container.errors import ConfigError
from lisa_container.microvm import DiskImageConfig, ImageConfig, Nic, VmConfig
from lisa_container.platforms.microvm.qemu_fields import take_node_fields, take_platform_fields
from lisa_container.platforms.microvm.schema import MicroVmNodeSchema, MicroVmPlatformSchema
from lisa_container.platforms.throw_away import read_schema

MICROVM = "microvm"
"""Type of the platform, and name of its blocks."""

_READY_SECONDS = 30.0
_OF_IMAGE = ("suite", "mirror", "packages", "files", "docker", "modules", "disk_gib")
_PATHS = ("kernel", "modules", "cache_dir")


def platform_schema(runbook: schema.Platform) -> MicroVmPlatformSchema:
    """Return the platform's part of a runbook.

    Args:
        runbook: the platform in the runbook.

    Raises:
        ConfigError: a field is unknown, refused, or of the wrong type.
    """
    take_platform_fields(runbook.extended_schemas or {}, MICROVM)
    found: MicroVmPlatformSchema = read_schema(runbook, MicroVmPlatformSchema, MICROVM)
    return found


def node_schema(requirement: schema.NodeSpace) -> MicroVmNodeSchema:
    """Return the platform's part of a node's requirement.

    Args:
        requirement: requirement of the node.

    Raises:
        ConfigError: a field is unknown, refused, or of the wrong type.
    """
    take_node_fields(requirement.extended_schemas or {}, MICROVM)
    found: MicroVmNodeSchema = read_schema(requirement, MicroVmNodeSchema, MICROVM)
    return found


def vm_config(
    runbook: schema.Platform,
    node: MicroVmNodeSchema,
    name: str,
    cores: int,
    memory_mib: int,
    data_disks_gib: Sequence[int] = (),
    nics: Sequence[Nic] = (),
) -> VmConfig:
    """Return the config of a VM.

    Args:
        runbook: the platform in the runbook.
        node: the platform's part of the node's requirement.
        name: host name.
        cores: number of processors.
        memory_mib: memory in MiB.
        data_disks_gib: sizes of further disks in GiB.
        nics: further network interfaces.

    Raises:
        ConfigError: a value is illegal.
    """
    platform = platform_schema(runbook)
    values = asdict(platform)
    # Relative paths start at the runbook's folder, as everywhere in LISA.
    for path in _PATHS:
        if values[path]:
            values[path] = str(Path(constants.RUNBOOK_PATH, values[path]))
    values["files"] = {
        target: str(Path(constants.RUNBOOK_PATH, source))
        for target, source in values["files"].items()
    }
    seconds = platform.ready_seconds or platform.network_boot_timeout or _READY_SECONDS
    has_disk = bool(node.qcow2 or node.disk_img)
    # A kernel with modules is a part of the image, one without only of the VM.
    has_modules = bool(values["modules"])
    return VmConfig(
        name=name,
        cores=cores,
        memory_mib=memory_mib,
        image=_disk_image(runbook, platform, node, values["cache_dir"])
        if has_disk
        else _package_image(runbook, node, values),
        data_disks_gib=tuple(data_disks_gib),
        nics=tuple(nics),
        kernel="" if has_modules else values["kernel"],
        options=values["options"],
        ready_seconds=seconds,
    )


def _package_image(
    runbook: schema.Platform, node: MicroVmNodeSchema, values: dict[str, Any]
) -> ImageConfig:
    for each in fields(MicroVmNodeSchema):
        if getattr(node, each.name):
            raise ConfigError(
                f"{MICROVM}, {each.name}: the node has no disk image; add 'qcow2' or 'disk_img' to"
                " the block in 'requirement', or leave this field out"
            )
    return ImageConfig(
        user=runbook.admin_username,
        kernel=values["kernel"] if values["modules"] else "",
        cache_dir=values["cache_dir"],
        **{name: values[name] for name in _OF_IMAGE},
    )


def _disk_image(
    runbook: schema.Platform,
    platform: MicroVmPlatformSchema,
    node: MicroVmNodeSchema,
    cache_dir: str,
) -> DiskImageConfig:
    default = MicroVmPlatformSchema()
    for name in _OF_IMAGE:
        if getattr(platform, name) != getattr(default, name):
            raise ConfigError(
                f"{MICROVM}, {name}: the node has the disk image '{node.disk_img or node.qcow2}';"
                f" leave '{name}' out, which is for images of Debian packages"
            )
    extra = node.cloud_init.extra_user_data if node.cloud_init else None
    files = [extra] if isinstance(extra, str) else extra or []
    return DiskImageConfig(
        disk=_find(node.disk_img or node.qcow2),
        # As LISA does: the name `qcow2` tells the format.
        format=node.disk_img_format if node.disk_img else "qcow2",
        firmware=node.firmware_type or DiskImageConfig.firmware,
        user=runbook.admin_username,
        private_key=runbook.admin_private_key_file,
        user_data=tuple(str(Path(constants.RUNBOOK_PATH, file)) for file in files if file),
        size_gib=node.disk_img_resize_gib or 0,
        cache_dir=cache_dir,
    )


def _find(disk: str) -> str:
    """Return the path of a disk: relative to the runbook, or, as for LISA, to this process."""
    beside = Path(constants.RUNBOOK_PATH, disk)
    return str(beside) if beside.exists() else disk
