"""Root file systems and kernels for tests of VMs, made once for all processes that run tests."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lisa_container.atomic import create_once
from lisa_container.debian.apt import package_sources
from lisa_container.debian.bootstrap import bootstrap
from lisa_container.microvm.places import Places

_KERNEL = "linux-image-cloud-amd64"
_PACKAGES = (
    "systemd-sysv",
    "udev",
    "openssh-server",
    "sudo",
    "iproute2",
    "perl",
    "busybox-static",
    "kmod",
    # Only for its files; the tests give them to VMs as a kernel of their own.
    _KERNEL,
)


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


def provide_root() -> Root:
    """Make them unless they are in the cache."""
    sources = package_sources("", "")
    key = hashlib.sha256(repr((sources.lines, _PACKAGES, "1")).encode()).hexdigest()[:16]
    folder = Places.of("").root / "vm-test-images" / f"root-{key}"
    with create_once(folder, print) as temporary:
        if temporary:
            temporary.mkdir(mode=0o700)
            options = ["--mode=root", "--format=directory"]
            root = temporary / "root"
            excluded = ["/etc/kernel/postinst.d/initramfs-tools", "/usr/share/doc/*"]
            bootstrap(
                sources, _PACKAGES, options, root, print, temporary=temporary, excluded=excluded
            )
            script = (
                'mkdir kernel; mv root/boot/vmlinuz-* root/boot/config-* kernel; mv "$1" kernel'
            )
            (modules,) = (root / "usr/lib/modules").iterdir()
            subprocess.run(["sh", "-c", script, "sh", str(modules)], cwd=temporary, check=True)
    (kernel,) = (folder / "kernel").glob("vmlinuz-*")
    modules = folder / "kernel" / kernel.name.partition("-")[2]
    return Root(folder / "root", kernel, modules)
