"""Platforms as images name them: `os/architecture[/variant]`, in the terms of Go."""

from __future__ import annotations

import platform
import struct
from typing import Any

# uname(2) -> GOARCH and variant; containerd's platforms/database.go does the same.
_MACHINES = {
    "x86_64": "amd64",
    "i386": "386",
    "i686": "386",
    "aarch64": "arm64",
    "armv6l": "arm/v6",
    "armv7l": "arm/v7",
    "armv8l": "arm/v7",
    "ppc64le": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
    "loongarch64": "loong64",
}

# elf(5): e_machine, and whether the file is little-endian -> GOARCH.
_ELF_MACHINES = {
    (3, True): "386",
    (21, True): "ppc64le",
    (22, False): "s390x",
    (40, True): "arm",
    (62, True): "amd64",
    (183, True): "arm64",
    (243, True): "riscv64",
    (258, True): "loong64",
}

ELF_MAGIC = b"\x7fELF"
ELF_HEADER = 20
"""Bytes from the start of a file that `elf_platform` needs."""


def own_platform() -> str:
    """Return the platform of this machine."""
    machine = platform.machine()
    return f"linux/{_MACHINES.get(machine, machine)}"


def elf_platform(head: bytes) -> str:
    """Return the platform of a program, or "" if it is no ELF file or one of an unknown machine.

    Args:
        head: the first bytes of the file.
    """
    if len(head) < ELF_HEADER or not head.startswith(ELF_MAGIC):
        return ""
    is_little = head[5] == 1
    (machine,) = struct.unpack_from("<H" if is_little else ">H", head, 18)
    architecture = _ELF_MACHINES.get((machine, is_little), "")
    return f"linux/{architecture}" if architecture else ""


def platform_of(described: dict[str, Any]) -> str:
    """Return the platform in a descriptor or in an image's config.

    Args:
        described: mapping with the keys `os`, `architecture` and `variant`; each may be missing.
    """
    parts = [described.get(key) for key in ("os", "architecture", "variant")]
    return "/".join(part for part in parts if isinstance(part, str) and part)


def fits(offered: str, wanted: str) -> bool:
    """Tell whether an image's platform is the wanted one.

    Variants are compared only where both sides name one: `arm64` is `arm64/v8`.
    """
    ours, theirs = ([*name.split("/"), ""][:3] for name in (offered, wanted))
    same_variant = not ours[2] or not theirs[2] or ours[2] == theirs[2]
    return ours[:2] == theirs[:2] and same_variant
