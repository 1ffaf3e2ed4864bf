"""Config of a virtual machine."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from lisa_container.config.checks import illegal, positive_seconds
from lisa_container.microvm.image.config import ImageConfig

_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LEAST_MIB, _MOST_MIB = 256, 1 << 20
_MOST_CORES = 64


@dataclass(frozen=True)
class VmConfig:
    """Config of a virtual machine. Construction checks all values.

    Attributes:
        name: host name.
        memory_mib: memory in MiB.
        cores: number of processors.
        image: config of the image.
        kernel: path of a bzImage to boot instead of the image's kernel. The drivers of disk,
            network and root file system must be built in.
        options: further options of the kernel's command line.
        is_cloned: whether the VM starts as the clone of one that has booted; otherwise it boots.
        console: file that gets the console's output, appended; empty means one that is removed
            with the VM.
        ready_seconds: time limit for a boot at full speed, in seconds. Without KVM it is eight
            times as long.
    """

    name: str = "vm0"
    memory_mib: int = 512
    cores: int = 2
    image: ImageConfig = field(default_factory=ImageConfig)
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
        _check("options", self.options, "\n" not in self.options, "one line")
        if self.console:
            folder = Path(self.console).absolute().parent
            _check("console", self.console, folder.is_dir(), "a file in an existing folder")
        positive_seconds("vm, ready_seconds", self.ready_seconds)


def _check_range(name: str, value: int, least: int, most: int) -> None:
    fits = isinstance(value, int) and least <= value <= most
    _check(name, value, fits, f"a whole number from {least} to {most}")


def _check(name: str, value: object, is_legal: bool, legal: str) -> None:
    if not is_legal:
        raise illegal(f"vm, {name}", value, legal)
