"""Images of virtual machines: configs, RAM disks, and what a kernel lacks."""

from __future__ import annotations

import gzip
import struct
import subprocess
from pathlib import Path

import pytest

from lisa_container.errors import ConfigError, VmImageError, VmKernelError
from lisa_container.microvm import ImageConfig, VmConfig
from lisa_container.microvm.image.initrd import make_initrd, module_order
from lisa_container.microvm.image.kernel import (
    find_config,
    kernel_version,
    missing_options,
    parse_config,
    require_options,
)

DEPENDENCIES = """\
kernel/net/virtio-net.ko.xz: kernel/net/failover.ko.xz kernel/v/virtio_ring.ko.xz
kernel/net/failover.ko.xz:
kernel/v/virtio_ring.ko.xz: kernel/v/virtio.ko.xz
kernel/v/virtio.ko.xz:
"""
BUILT_IN = """\
CONFIG_BLOCK=y
CONFIG_CGROUPS=y
CONFIG_DEVTMPFS=y
CONFIG_INET=y
CONFIG_NAMESPACES=y
CONFIG_PCI=y
CONFIG_PROC_FS=y
CONFIG_SERIAL_8250_CONSOLE=y
CONFIG_SYSFS=y
CONFIG_TMPFS=y
CONFIG_UNIX=y
CONFIG_BLK_DEV_INITRD=y
"""
MODULES = """\
CONFIG_EXT4_FS=m
CONFIG_OVERLAY_FS=m
CONFIG_VIRTIO_BLK=m
CONFIG_VIRTIO_NET=m
CONFIG_VIRTIO_PCI=m
# CONFIG_9P_FS is not set
"""


def make_kernel(path: Path, config: str | None, version: str = "6.9.1-test") -> Path:
    """Write a bzImage with a header, a version, and a payload that has a config or none."""
    header = bytearray(0x400)
    header[0x1F1] = 1  # sectors of the set-up code
    header[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", header, 0x20E, 0x100)
    text = f"{version} (builder@machine) #1".encode() + b"\0"
    header[0x300 : 0x300 + len(text)] = text
    inner = b"code"
    if config is not None:
        inner += b"IKCFG_ST" + gzip.compress(config.encode()) + b"IKCFG_ED" + b"more code"
    payload = gzip.compress(inner) + b"\x01\x02\x03\x04"
    struct.pack_into("<II", header, 0x248, 0, len(payload))
    path.write_bytes(bytes(header) + payload)
    return path


def test_modules_are_loaded_after_those_they_need() -> None:
    order = module_order(DEPENDENCIES, ["virtio_net", "ext4"])
    assert order == [
        "kernel/v/virtio.ko.xz",
        "kernel/v/virtio_ring.ko.xz",
        "kernel/net/failover.ko.xz",
        "kernel/net/virtio-net.ko.xz",
    ]


def test_ram_disk_is_unpacked_by_cpio(tmp_path: Path) -> None:
    files = {
        "modules.dep": b"kernel/virtio_blk.ko.gz: kernel/virtio.ko\nkernel/virtio.ko:\n",
        "kernel/virtio.ko": b"first",
        "kernel/virtio_blk.ko.gz": gzip.compress(b"second"),
    }
    archive = make_initrd(files.__getitem__, b"busybox")
    subprocess.run(["busybox", "cpio", "-id"], input=archive, cwd=tmp_path, check=True)
    assert (tmp_path / "lib/00-virtio.ko").read_bytes() == b"first"
    assert (tmp_path / "lib/01-virtio_blk.ko").read_bytes() == b"second"
    assert (tmp_path / "bin/busybox").read_bytes() == b"busybox"
    assert (tmp_path / "init").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "proc").is_dir()


def test_config_in_the_kernel(tmp_path: Path) -> None:
    kernel = make_kernel(tmp_path / "bzImage", MODULES)
    (tmp_path / "config-6.9.1-test").write_text("CONFIG_OTHER=y\n")
    assert kernel_version(kernel) == "6.9.1-test"
    assert find_config(kernel) == parse_config(MODULES)


@pytest.mark.parametrize("name", ["config-6.9.1-test", "config", ".config"])
def test_config_beside_the_kernel(tmp_path: Path, name: str) -> None:
    kernel = make_kernel(tmp_path / "vmlinuz", None)
    assert find_config(kernel) is None
    (tmp_path / name).write_text(BUILT_IN)
    assert find_config(kernel) == parse_config(BUILT_IN)


def test_config_of_the_source_folder(tmp_path: Path) -> None:
    boot = tmp_path / "arch" / "x86" / "boot"
    boot.mkdir(parents=True)
    (tmp_path / ".config").write_text(BUILT_IN)
    assert find_config(make_kernel(boot / "bzImage", None)) == parse_config(BUILT_IN)


def test_modules_serve_only_beside_their_folder() -> None:
    config = parse_config(BUILT_IN + MODULES)
    assert missing_options(config, has_modules=True) == {}
    assert list(missing_options(config, has_modules=False)) == [
        "CONFIG_EXT4_FS",
        "CONFIG_OVERLAY_FS",
        "CONFIG_VIRTIO_BLK",
        "CONFIG_VIRTIO_NET",
        "CONFIG_VIRTIO_PCI",
    ]
    del config["CONFIG_BLK_DEV_INITRD"]
    assert list(missing_options(config, has_modules=True)) == ["CONFIG_BLK_DEV_INITRD"]


def test_kernel_without_options_is_refused(tmp_path: Path) -> None:
    kernel = make_kernel(tmp_path / "bzImage", BUILT_IN)
    with pytest.raises(VmKernelError, match=r"bzImage(.|\n)*CONFIG_VIRTIO_BLK: the disk") as caught:
        require_options(kernel, has_modules=True)
    assert "CONFIG_VIRTIO_NET" in caught.value.missing


def test_other_file_is_no_kernel(tmp_path: Path) -> None:
    file = tmp_path / "vmlinux"
    file.write_bytes(b"\x7fELF" + bytes(2000))
    with pytest.raises(VmImageError, match="no Linux kernel for x86; give a bzImage"):
        require_options(file, has_modules=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"packages": "jq"}, "packages: given 'jq'"),
        ({"packages": ["jq; rm"]}, "packages: given 'jq; rm'"),
        ({"keys": ["-----BEGIN"]}, "public SSH keys"),
        ({"user": "root"}, "other than root"),
        ({"disk_gib": 0}, "from 1 to 1024"),
        ({"mirror": "nowhere"}, "URL of a package mirror"),
        ({"kernel": "/nowhere"}, "path of a bzImage"),
        ({"modules": "/nowhere"}, "empty, if `kernel` is"),
        ({"files": {"/etc/../x": "/etc/passwd"}}, "absolute paths of files in the image"),
        ({"files": {"/etc/x": "/nowhere"}}, "existing files"),
    ],
)
def test_illegal_image(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ImageConfig(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "No Name"}, "a host name"),
        ({"memory_mib": 64}, "from 256 to"),
        ({"cores": 0}, "from 1 to 64"),
        ({"kernel": "/nowhere"}, "path of a bzImage"),
        ({"console": "/nowhere/console"}, "existing folder"),
        ({"ready_seconds": 0}, "seconds above 0"),
    ],
)
def test_illegal_vm(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        VmConfig(**options)  # type: ignore[arg-type]
