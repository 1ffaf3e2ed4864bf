"""Throw-away virtual machines on this machine, started in a second.

    with MicroVm(VmConfig(memory_mib=1024)) as vm:
        print(vm.address, vm.port, vm.user, vm.private_key)

A VM is a copy-on-write clone of a template, a VM that was booted once and kept as files. QEMU is
driven directly; neither root nor a daemon is needed.

    config, vm     one virtual machine; `starting` has its ways to start
    session        commands and files in it, over SSH, by resident shells (`shell`),
                   and a command that runs (`command`)
    image/         its image: Debian packages, kernel, initial RAM disk; or a given disk
    template       memory and disk of a VM that has booted, and clones of it
    state, disks   files with the memory and devices of a VM; layers of its disk
    freezing       freezing VMs when a case fails; frozen/ has the frozen VMs and their copies
    guest, login   a guest in its QEMU: boot, readiness, errors; the SSH login to it
    console        milestones and panics on the console
    disk_vm        hardware of a VM with a given disk
    identity       what makes a VM different from all others
    machine/       QEMU of this machine, accelerator, command line
    process/       one QEMU process, its keeper and the connections to it
"""

from lisa_container.microvm.config import Nic, VmConfig, image_config
from lisa_container.microvm.console import Milestone
from lisa_container.microvm.image.config import ImageConfig, RootImageConfig
from lisa_container.microvm.image.disk import DiskImageConfig
from lisa_container.microvm.image.store import Image, list_images, provide_image, remove_image
from lisa_container.microvm.machine.accelerator import Accelerator, find_accelerator
from lisa_container.microvm.machine.qemu import REQUIRED_PACKAGES
from lisa_container.microvm.process.network import PrivateNetwork
from lisa_container.microvm.process.shares import Share
from lisa_container.microvm.vm import MicroVm

__all__ = [
    "REQUIRED_PACKAGES",
    "Accelerator",
    "DiskImageConfig",
    "Image",
    "ImageConfig",
    "MicroVm",
    "Milestone",
    "Nic",
    "PrivateNetwork",
    "RootImageConfig",
    "Share",
    "VmConfig",
    "find_accelerator",
    "image_config",
    "list_images",
    "provide_image",
    "remove_image",
]
