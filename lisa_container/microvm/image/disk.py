"""Images that are disks with an operating system, such as a distribution's cloud image."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from typing_extensions import Self

from lisa_container.config.checks import illegal, strings
from lisa_container.errors import ConfigError, VmError, VmImageError, VmMachineError
from lisa_container.microvm.disks import run_qemu_img
from lisa_container.microvm.image.config import check, check_user
from lisa_container.microvm.keys import provide_key, public_key_of
from lisa_container.microvm.places import Places

_GIB = 1 << 30
_MOST_GIB = 1024


class DiskFormat(str, Enum):
    """Format of a disk's file.

    QCOW2: QEMU's own format, which may be compressed.
    RAW: the bytes of the disk.
    """

    QCOW2 = "qcow2"
    RAW = "raw"


class Firmware(str, Enum):
    """Program that starts the disk's boot loader.

    UEFI: the newer kind; this machine needs the package `ovmf`.
    BIOS: the older kind, a part of QEMU.
    """

    UEFI = "uefi"
    BIOS = "bios"


@dataclass(frozen=True)
class DiskImageConfig:
    """Config of an image that is a disk with an operating system. Construction checks all values.

    The guest has cloud-init, which a small disk with the user, the key, the host name and the host
    key tells about the VM. Nothing is installed in it, and its file is never changed.

    Attributes:
        disk: path of the disk's file.
        format: format of the file, "qcow2" or "raw"; empty means that QEMU finds out.
        firmware: what starts the disk's boot loader, "uefi" or "bios".
        user: user who logs in with a key and has sudo without a password.
        private_key: file of the user's private key; empty means a key of the cache folder.
        user_data: files with further user data for cloud-init, in its YAML format. Lists are
            appended, mappings are merged, and other values replace earlier ones.
        size_gib: size of the disk in GiB; 0 means the file's own.
        cache_dir: folder for the key and for running VMs; empty means the usual one.
    """

    disk: str
    format: str = ""
    firmware: str = Firmware.UEFI.value
    user: str = "tester"
    private_key: str = ""
    user_data: tuple[str, ...] = ()
    size_gib: int = 0
    cache_dir: str = ""

    def __post_init__(self) -> None:
        """Check and normalise all fields."""
        formats, firmwares = [x.value for x in DiskFormat], [x.value for x in Firmware]
        files = strings("user_data", self.user_data, "paths of YAML files")
        object.__setattr__(self, "user_data", files)
        check("disk", self.disk, Path(self.disk).is_file(), "path of a disk image")
        legal = f"{' or '.join(formats)}, or empty"
        check("format", self.format, self.format in ("", *formats), legal)
        check("firmware", self.firmware, self.firmware in firmwares, " or ".join(firmwares))
        check_user(self.user)
        fits = isinstance(self.size_gib, int) and 0 <= self.size_gib <= _MOST_GIB
        check("size_gib", self.size_gib, fits, f"a whole number of GiB from 0 to {_MOST_GIB}")
        if self.private_key:
            public_key_of(Path(self.private_key))
        for file in self.user_data:
            read_user_data(Path(file))


def read_user_data(file: Path) -> dict[str, Any]:
    """Return the user data in a file.

    Args:
        file: YAML file for cloud-init.

    Raises:
        ConfigError: the file cannot be read, or is no mapping in YAML.
    """
    legal = "files with a mapping in YAML (#cloud-config)"
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise illegal("vm image, user_data", str(file), legal, error.strerror or "") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"vm image, user_data: '{file}' is no YAML: {error}") from error
    if not isinstance(data, dict):
        raise illegal("vm image, user_data", str(file), legal)
    return data


@dataclass(frozen=True)
class DiskImage:
    """Disk with an operating system, ready to be used. Its file must not be changed.

    Attributes:
        config: config of the image.
        disk: file of the disk.
        disk_format: format of the file.
        disk_bytes: size of the VMs' disks in bytes.
        private_key: private key of the user.
    """

    config: DiskImageConfig
    disk: Path
    disk_format: str
    disk_bytes: int
    private_key: Path

    @classmethod
    def open(cls, config: DiskImageConfig) -> Self:
        """Return the image of a config.

        Args:
            config: config of the image.

        Raises:
            VmImageError: the file is no disk of the given format, or larger than the wanted size.
            VmMachineError: QEMU's tool for disks is missing.
        """
        disk = Path(config.disk).absolute()
        found = _examine(disk, config.format)
        size = found["virtual-size"]
        if config.size_gib and config.size_gib * _GIB < size:
            raise VmImageError(
                f"the disk in '{disk}' has {size / _GIB:.1f} GiB and cannot be made smaller; give a"
                f" larger size than {config.size_gib} GiB"
            )
        size = config.size_gib * _GIB or size
        key = Path(config.private_key).absolute() if config.private_key else None
        return cls(
            config, disk, found["format"], size, key or provide_key(Places.of(config.cache_dir))
        )

    @property
    def user(self) -> str:
        """User who logs in with the key and has sudo without a password."""
        return self.config.user


def _examine(disk: Path, kind: str) -> dict[str, Any]:
    """Return what QEMU says about a disk's file."""
    # Other processes may use the disk, as it is only read.
    options = ["--output=json", "--force-share", *(("-f", kind) if kind else ())]
    try:
        found: dict[str, Any] = json.loads(run_qemu_img("info", *options, str(disk)))
    except VmMachineError:
        raise
    except VmError as error:
        raise VmImageError(
            f"'{disk}' is no disk in the format {kind or 'qcow2 or raw'}: {error}"
        ) from error
    if found["format"] not in [each.value for each in DiskFormat]:
        raise VmImageError(
            f"the disk in '{disk}' has the format '{found['format']}'; convert it:"
            f" `qemu-img convert -O qcow2 {disk} disk.qcow2`"
        )
    return found
