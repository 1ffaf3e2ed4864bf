"""Hardware of a VM whose image is a disk with an operating system: disk, seed, firmware."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from lisa_container.microvm.config import VmConfig
from lisa_container.microvm.disks import create_data_disks, create_disk
from lisa_container.microvm.identity import Identity
from lisa_container.microvm.image.disk import DiskImage, Firmware, read_user_data
from lisa_container.microvm.image.seed import write_seed
from lisa_container.microvm.keys import public_key_of
from lisa_container.microvm.machine.accelerator import Accelerator
from lisa_container.microvm.machine.boot import BiosBoot, Boot, KernelBoot, UefiBoot
from lisa_container.microvm.machine.command_line import Hardware, Memory
from lisa_container.microvm.machine.firmware import find_uefi

_DISK, _SEED, _VARIABLES = "disk.qcow2", "seed.iso", "uefi-variables"


def disk_hardware(
    image: DiskImage,
    config: VmConfig,
    identity: Identity,
    accelerator: Accelerator,
    options: str,
    folder: Path,
    console: Path,
) -> Hardware:
    """Create the files of a VM, and return its hardware.

    Args:
        image: image of the VM.
        config: config of the VM.
        identity: identity of the VM.
        accelerator: how instructions run.
        options: command line of the kernel, used only if the config names a kernel.
        folder: folder of the VM.
        console: file for the output of its console.

    Raises:
        VmMachineError: this machine has no UEFI firmware.
        VmError: a disk could not be created.
    """
    create_disk(folder / _DISK, image.disk, image.disk_format, image.disk_bytes)
    write_seed(
        folder / _SEED,
        identity,
        image.user,
        public_key_of(image.private_key),
        [read_user_data(Path(file)) for file in image.config.user_data],
    )
    return Hardware(
        accelerator=accelerator,
        cores=config.cores,
        memory=Memory(config.memory_mib, is_shared=bool(config.shares)),
        boot=_boot(image, config, options, folder),
        disk=folder / _DISK,
        mac=identity.mac,
        nics=tuple(mac for mac, _ in identity.nics),
        data_disks=create_data_disks(folder, config.data_disks_gib),
        seed=folder / _SEED,
        uuid=str(uuid.UUID(identity.machine_id)),
        console=console,
    )


def _boot(image: DiskImage, config: VmConfig, options: str, folder: Path) -> Boot:
    if config.kernel:
        return KernelBoot(Path(config.kernel), None, options)
    if image.config.firmware == Firmware.BIOS:
        return BiosBoot()
    uefi = find_uefi()
    variables = folder / _VARIABLES
    shutil.copyfile(uefi.variables, variables)
    return UefiBoot(uefi.code, variables)
