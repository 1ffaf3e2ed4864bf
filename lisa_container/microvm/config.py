"""Config of a virtual machine."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sized
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lisa_container.config.checks import check_names, illegal, positive_seconds
from lisa_container.microvm.image.config import ImageConfig, RootImageConfig
from lisa_container.microvm.image.disk import DiskImageConfig
from lisa_container.microvm.process.network import PrivateNetwork
from lisa_container.microvm.process.shares import Share, share_of

_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LEAST_MIB, _MOST_MIB = 256, 1 << 20
_MOST_CORES = 64
_MOST_GIB = 1 << 16
# Each takes a slot of the PCI bus, of which there are 32.
MOST_DATA_DISKS, MOST_NICS, MOST_SHARES = 12, 7, 5
"""Largest numbers of further disks, of further network interfaces and of shares of a VM."""


@dataclass(frozen=True)
class Nic:
    """Network interface of a VM on a private network: eth1, eth2 and so on.

    Attributes:
        network: the network.
        address: IPv4 address with the length of its prefix, such as "10.91.0.1/24"; empty means
            none.
    """

    network: PrivateNetwork
    address: str = ""

    def __post_init__(self) -> None:
        """Check the address."""
        legal = "an IPv4 address with a prefix length, such as 10.91.0.1/24"
        try:
            if self.address:
                ipaddress.IPv4Interface(self.address)
            is_legal = not self.address or "/" in self.address
        except ValueError:
            is_legal = False
        _check("nics, address", self.address, is_legal, legal)


def image_config(values: Mapping[str, Any]) -> ImageConfig | RootImageConfig | DiskImageConfig:
    """Return the config of an image, whose kind the names of its fields tell.

    Args:
        values: fields of `DiskImageConfig` if `disk` is one of them, of `RootImageConfig` if `root`
            or `archive` is, else of `ImageConfig`.

    Raises:
        ConfigError: a field is unknown, or its value is illegal.
    """
    kind: type[ImageConfig] | type[RootImageConfig] | type[DiskImageConfig] = ImageConfig
    if "disk" in values:
        kind = DiskImageConfig
    elif "root" in values or "archive" in values:
        kind = RootImageConfig
    check_names(values, [each.name for each in fields(kind)], "image, unknown field")
    return kind(**values)


@dataclass(frozen=True)
class VmConfig:
    """Config of a virtual machine. Construction checks all values.

    Attributes:
        name: host name.
        memory_mib: memory in MiB.
        cores: number of processors.
        image: config of the image: of one made of Debian packages or of a root file system, or of
            a given disk.
        data_disks_gib: sizes of further disks in GiB; they are empty.
        nics: further network interfaces, on networks between VMs.
        shares: folders of this machine that the VM mounts, each a `Share` or its fields.
        kernel: path of a bzImage to boot instead of the image's kernel. The drivers of disk,
            network and root file system must be built in.
        options: further options of the kernel's command line.
        is_cloned: whether the VM starts as the clone of one that has booted; otherwise it boots,
            also for `reset`. A VM with shares always boots. One whose image is a given disk boots
            once, and `reset` restores the memory and disks that it had then.
        console: file that gets the console's output, appended; empty means one that is removed
            with the VM.
        ready_seconds: time limit for a boot at full speed, in seconds. Without KVM it is twelve
            times as long.
    """

    name: str = "vm0"
    memory_mib: int = 512
    cores: int = 2
    image: ImageConfig | RootImageConfig | DiskImageConfig = field(default_factory=ImageConfig)
    data_disks_gib: tuple[int, ...] = ()
    nics: tuple[Nic, ...] = ()
    shares: tuple[Share, ...] = ()
    kernel: str = ""
    options: str = ""
    is_cloned: bool = True
    console: str = ""
    ready_seconds: float = 30

    def __post_init__(self) -> None:
        """Check all fields."""
        _check("name", self.name, bool(_HOST_NAME.fullmatch(self.name)), "a host name: a-z, 0-9, -")
        _check_range("memory_mib", self.memory_mib, _LEAST_MIB, _MOST_MIB)
        _check_range("cores", self.cores, 1, _MOST_CORES)
        if self.kernel:
            _check("kernel", self.kernel, Path(self.kernel).is_file(), "path of a bzImage")
        object.__setattr__(self, "data_disks_gib", tuple(self.data_disks_gib))
        object.__setattr__(self, "nics", tuple(self.nics))
        shares = (share_of(share) for share in self.shares)
        object.__setattr__(self, "shares", tuple(shares))
        for size in self.data_disks_gib:
            _check_range("data_disks_gib", size, 1, _MOST_GIB)
        _check_length("data_disks_gib", self.data_disks_gib, MOST_DATA_DISKS)
        _check_length("nics", self.nics, MOST_NICS)
        _check_length("shares", self.shares, MOST_SHARES)
        _check("options", self.options, "\n" not in self.options, "one line")
        if self.console:
            folder = Path(self.console).absolute().parent
            _check("console", self.console, folder.is_dir(), "a file in an existing folder")
        positive_seconds("vm, ready_seconds", self.ready_seconds)


def _check_range(name: str, value: int, least: int, most: int) -> None:
    fits = isinstance(value, int) and least <= value <= most
    _check(name, value, fits, f"a whole number from {least} to {most}")


def _check_length(name: str, values: Sized, most: int) -> None:
    _check(name, len(values), len(values) <= most, f"at most {most}")


def _check(name: str, value: object, is_legal: bool, legal: str) -> None:
    if not is_legal:
        raise illegal(f"vm, {name}", value, legal)
