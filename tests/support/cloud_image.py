"""Cloud image, and its root file system and kernel alone, for tests of VMs that are not made by us.

The image is a disk as distributions ship them, made of Debian packages. It has a partition table, a
partition for boot loaders, a root file system, systemd and cloud-init, and nothing of lisa_container.
It boots by UEFI (systemd-boot) and by BIOS (SYSLINUX).
"""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lisa_container.atomic import create_once
from lisa_container.debian.apt import package_sources
from lisa_container.debian.bootstrap import EXCLUDED, bootstrap
from lisa_container.microvm.image.initrd import make_initrd
from lisa_container.microvm.places import Places

PACKAGES = (
    "linux-image-cloud-amd64",
    "systemd-sysv",
    "udev",
    "dbus",
    "libpam-systemd",
    "openssh-server",
    "sudo",
    "iproute2",
    "iputils-ping",
    "kmod",
    "procps",
    "cloud-init",
    "netplan.io",
    "busybox-static",
    "systemd-boot-efi",
    "syslinux",
    "syslinux-common",
    "mtools",
    "dosfstools",
    "fdisk",
    "e2fsprogs",
    "cloud-guest-utils",
)
# Without mitigations, boots under QEMU's translator take half as long.
OPTIONS = "root=/dev/vda2 console=ttyS0 mitigations=off"
# What cloud images have in common; each module costs a second under QEMU's translator.
CLOUD = """\
datasource_list: [NoCloud, None]
cloud_init_modules: [write-files, growpart, resizefs, set_hostname, update_etc_hosts, users-groups, ssh]
cloud_config_modules: [runcmd]
cloud_final_modules: [scripts-user, final-message]
manage_etc_hosts: localhost
"""
# Sectors of 512 bytes.
BOOT_AT, BOOT_SIZE, ROOT_SIZE = 2048, 131072, 2359296

# In the root file system, which has all tools. $1: version of the kernel.
BOOT_FILES = f"""\
set -eu
mkdir -p /work/loader/entries
cat >/work/loader/entries/debian.conf <<END
title Debian
linux /vmlinuz
initrd /initrd
options {OPTIONS}
END
printf 'timeout 0\\n' >/work/loader/loader.conf
cat >/work/syslinux.cfg <<END
DEFAULT debian
LABEL debian
	LINUX vmlinuz
	INITRD initrd
	APPEND {OPTIONS}
END
mkfs.vfat -h {BOOT_AT} --offset {BOOT_AT} -C /work/disk -F 16 $(({BOOT_SIZE} / 2)) >/dev/null
truncate -s $((({BOOT_AT} + {BOOT_SIZE} + {ROOT_SIZE} + 2048) * 512)) /work/disk
boot=/work/disk@@$(({BOOT_AT} * 512))
mmd -i "$boot" ::EFI ::EFI/BOOT ::loader ::loader/entries
mcopy -i "$boot" /usr/lib/systemd/boot/efi/systemd-bootx64.efi ::EFI/BOOT/BOOTX64.EFI
mcopy -i "$boot" /work/loader/loader.conf ::loader/
mcopy -i "$boot" /work/loader/entries/debian.conf ::loader/entries/
mcopy -i "$boot" /work/syslinux.cfg /work/initrd ::
mcopy -i "$boot" "/boot/vmlinuz-$1" ::vmlinuz
syslinux --install --offset $(({BOOT_AT} * 512)) /work/disk
printf '{BOOT_AT},{BOOT_SIZE},ef,*\\n,{ROOT_SIZE},83\\n' | sfdisk -q /work/disk
dd if=/usr/lib/syslinux/mbr/mbr.bin of=/work/disk bs=440 count=1 conv=notrunc status=none
"""
# Outside of it. $1: the root file system, $2: the disk.
ROOT_FILES = f"""\
set -eu
mv "$1/work/disk" "$2"
rm -rf "$1/work" "$1"/etc/ssh/ssh_host_*
: >"$1/etc/machine-id"
echo '/dev/vda2 / ext4 rw 0 1' >"$1/etc/fstab"
mke2fs -q -F -t ext4 -L root -E offset=$((({BOOT_AT} + {BOOT_SIZE}) * 512)) -d "$1" "$2" $(({ROOT_SIZE} / 2))k
"""
# What the root file system alone is without. $1: the root file system, $2: a folder for the kernel.
PARTS = """\
set -eu
mkdir "$2"
mv "$1"/boot/vmlinuz-* "$1"/boot/config-* "$1"/usr/lib/modules/* "$2"
rm "$1/etc/fstab"
: >"$1/etc/cloud/cloud-init.disabled"
"""


@dataclass(frozen=True)
class Root:
    """Root file system without a kernel, and a kernel with its modules.

    Attributes:
        root: folder of the root file system.
        kernel: a vmlinuz, with its config beside it.
        modules: folder of its modules.
    """

    root: Path
    kernel: Path
    modules: Path


def provide_cloud_image() -> Path:
    """Make the image unless it is in the cache; return the file of its disk, a qcow2."""
    return _provide() / "disk.qcow2"


def provide_root() -> Root:
    """Make the root file system and the kernel unless they are in the cache."""
    folder = _provide()
    (kernel,) = (folder / "kernel").glob("vmlinuz-*")
    modules = folder / "kernel" / kernel.name.partition("-")[2]
    return Root(folder / "root", kernel, modules)


def _provide() -> Path:
    sources = package_sources("", "")
    parts = repr((sources.lines, PACKAGES, BOOT_FILES, ROOT_FILES, PARTS, CLOUD, OPTIONS, "1"))
    key = hashlib.sha256(parts.encode()).hexdigest()[:16]
    folder = Places.of("").root / "vm-test-images" / f"cloud-{key}"
    with create_once(folder, print) as temporary:
        if temporary:
            temporary.mkdir(mode=0o700)
            _make(temporary)
    return folder


def _make(folder: Path) -> None:
    root, disk = folder / "root", folder / "disk.raw"
    bootstrap(
        package_sources("", ""),
        PACKAGES,
        ["--mode=root", "--format=directory"],
        root,
        print,
        temporary=folder,
        excluded=(*EXCLUDED, "/etc/kernel/postinst.d/initramfs-tools"),
    )
    (modules,) = (root / "usr/lib/modules").iterdir()
    busybox = (root / "usr/bin/busybox").read_bytes()
    (root / "etc/cloud/cloud.cfg.d/99-test.cfg").write_text(CLOUD)
    (root / "work").mkdir()
    (root / "work/initrd").write_bytes(
        make_initrd(lambda path: (modules / path).read_bytes(), busybox)
    )
    # SYSLINUX needs /proc.
    chroot = 'mount -t proc proc "$1/proc" && chroot "$1" sh -c "$2" sh "$3"'
    _run("unshare", "--mount", "sh", "-c", chroot, "sh", root, BOOT_FILES, modules.name)
    _run("sh", "-c", ROOT_FILES, "sh", root, disk)
    _run("qemu-img", "convert", "-O", "qcow2", disk, folder / "disk.qcow2")
    disk.unlink()
    _run("sh", "-c", PARTS, "sh", root, folder / "kernel")


def _run(*command: object) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
