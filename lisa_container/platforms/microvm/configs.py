"""Configs of VMs from the parts of a runbook: the platform's and a node's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from lisa import schema
from lisa.util import constants

from lisa_container.errors import ConfigError
from lisa_container.microvm import DiskImageConfig, ImageConfig, Nic, RootImageConfig, VmConfig
from lisa_container.microvm.image.config import MadeImageConfig
from lisa_container.microvm.process.shares import Share, share_of
from lisa_container.platforms.microvm.qemu_fields import take_node_fields, take_platform_fields
from lisa_container.platforms.microvm.schema import MicroVmNodeSchema, MicroVmPlatformSchema
from lisa_container.platforms.throw_away import read_schema

MICROVM = "microvm"
"""Type of the platform, and name of its blocks."""

_READY_SECONDS = 30.0
_OF_MADE = ("files", "modules", "disk_gib", "cache_dir")
_OF_PACKAGES = ("suite", "mirror", "packages")
_OF_ROOT = ("root", "archive")
_PATHS = ("kernel", "modules", "cache_dir", *_OF_ROOT)


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
    for path in _PATHS:
        if values[path]:
            values[path] = _beside_runbook(values[path])
    files = values["files"]
    values["files"] = {target: _beside_runbook(source) for target, source in files.items()}
    shares = [_share(share) for share in values["shares"]]
    seconds = platform.ready_seconds or platform.network_boot_timeout or _READY_SECONDS
    image: ImageConfig | RootImageConfig | DiskImageConfig
    if node.qcow2 or node.disk_img:
        image = _disk_image(runbook, values, node)
    else:
        image = _made_image(runbook, values, node)
    # A kernel with modules is a part of the image, and so is that of a root file system.
    has_kernel = isinstance(image, MadeImageConfig) and bool(image.kernel)
    return VmConfig(
        name=name,
        cores=cores,
        memory_mib=memory_mib,
        image=image,
        data_disks_gib=tuple(data_disks_gib),
        nics=tuple(nics),
        shares=tuple(shares),
        kernel="" if has_kernel else values["kernel"],
        options=values["options"],
        # LISA resets no VM, so one of a given disk needs no checkpoint.
        is_cloned=not isinstance(image, DiskImageConfig),
        ready_seconds=seconds,
    )


def _share(given: dict[str, Any]) -> Share:
    source = given.get("source")
    return share_of({**given, "source": _beside_runbook(source)} if source else given)


def _made_image(
    runbook: schema.Platform, values: dict[str, Any], node: MicroVmNodeSchema
) -> ImageConfig | RootImageConfig:
    for each in fields(MicroVmNodeSchema):
        if getattr(node, each.name):
            raise ConfigError(
                f"{MICROVM}, {each.name}: the node has no disk image; add 'qcow2' or 'disk_img' to"
                " the block in 'requirement', or leave this field out"
            )
    made: dict[str, Any] = {name: values[name] for name in _OF_MADE}
    made["user"] = runbook.admin_username
    if values["docker"] is not None:
        made["docker"] = values["docker"]
    if values["root"] or values["archive"]:
        _refuse(
            values, _OF_PACKAGES, f"the root file system '{values['root'] or values['archive']}'"
        )
        roots = {name: values[name] for name in _OF_ROOT}
        return RootImageConfig(kernel=values["kernel"], **made, **roots)
    kernel = values["kernel"] if values["modules"] else ""
    return ImageConfig(kernel=kernel, **made, **{name: values[name] for name in _OF_PACKAGES})


def _disk_image(
    runbook: schema.Platform, values: dict[str, Any], node: MicroVmNodeSchema
) -> DiskImageConfig:
    disk = node.disk_img or node.qcow2
    names = ("files", "modules", "disk_gib", "docker", *_OF_PACKAGES, *_OF_ROOT)
    _refuse(values, names, f"the disk '{disk}'")
    extra = node.cloud_init.extra_user_data if node.cloud_init else None
    files = [extra] if isinstance(extra, str) else extra or []
    return DiskImageConfig(
        disk=_find(disk),
        # As LISA does: the name `qcow2` tells the format.
        format=node.disk_img_format if node.disk_img else "qcow2",
        firmware=node.firmware_type or DiskImageConfig.firmware,
        user=runbook.admin_username,
        private_key=runbook.admin_private_key_file,
        user_data=tuple(_beside_runbook(file) for file in files if file),
        size_gib=node.disk_img_resize_gib or 0,
        cache_dir=values["cache_dir"],
    )


def _refuse(values: dict[str, Any], names: Sequence[str], image: str) -> None:
    """Refuse fields that are for images of another kind."""
    defaults = asdict(MicroVmPlatformSchema())
    for name in names:
        if values[name] != defaults[name]:
            raise ConfigError(
                f"{MICROVM}, {name}: the node's image is {image}; leave '{name}' out, which is for"
                " images of another kind"
            )


def _beside_runbook(path: str) -> str:
    """Return a path; relative ones start at the runbook's folder, as everywhere in LISA."""
    return str(Path(constants.RUNBOOK_PATH, path))


def _find(disk: str) -> str:
    """Return the path of a disk: relative to the runbook, or, as for LISA, to this process."""
    beside = Path(constants.RUNBOOK_PATH, disk)
    return str(beside) if beside.exists() else disk
