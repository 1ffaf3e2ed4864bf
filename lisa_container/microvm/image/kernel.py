"""Version and config of a kernel, and the options that it lacks for a virtual machine."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from lisa_container.errors import VmImageError, VmKernelError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Fields of the header of a bzImage (the kernel's Documentation/arch/x86/boot.rst).
_MAGIC_AT, _MAGIC = 0x202, b"HdrS"
_VERSION_AT, _VERSION_BASE = 0x20E, 0x200
_SECTORS_AT, _SECTOR = 0x1F1, 512
_PAYLOAD_AT = 0x248
# The config is between these marks, compressed (CONFIG_IKCONFIG).
_CONFIG_START, _CONFIG_END = b"IKCFG_ST", b"IKCFG_ED"
_BOOT = Path("/boot")

_BUILT_IN = "y"
# Options that must be built in, as nothing could load a module for them.
_ALWAYS_BUILT_IN = {
    "CONFIG_BLOCK": "disks",
    "CONFIG_CGROUPS": "systemd, containers",
    "CONFIG_DEVTMPFS": "/dev",
    "CONFIG_INET": "network",
    "CONFIG_NAMESPACES": "containers",
    "CONFIG_PCI": "all devices of the VM",
    "CONFIG_PROC_FS": "/proc",
    "CONFIG_SERIAL_8250_CONSOLE": "the console, and the channel to the guest",
    "CONFIG_SYSFS": "/sys",
    "CONFIG_TMPFS": "/run",
    "CONFIG_UNIX": "sockets of systemd and of the engine",
}
# Options that may be modules if these come along.
_MAYBE_MODULES = {
    "CONFIG_EXT4_FS": "the root file system",
    "CONFIG_OVERLAY_FS": "the file systems of containers",
    "CONFIG_VIRTIO_BLK": "the disk",
    "CONFIG_VIRTIO_NET": "the network interface",
    "CONFIG_VIRTIO_PCI": "the disk and the network interface",
}
_INITRD = {"CONFIG_BLK_DEV_INITRD": "the initial RAM disk, which loads the modules"}


def kernel_version(kernel: Path) -> str:
    """Return the version of a kernel, such as "6.1.0-57-cloud-amd64".

    Args:
        kernel: a bzImage.

    Raises:
        VmImageError: the file cannot be read, or is no bzImage.
    """
    image = _read(kernel)
    (offset,) = struct.unpack_from("<H", image, _VERSION_AT)
    text = image[_VERSION_BASE + offset :].partition(b"\0")[0]
    return text.decode("ascii", "replace").partition(" ")[0]


def find_config(kernel: Path) -> dict[str, str] | None:
    """Return the options of a kernel's config, or None if the config is unknown.

    The config in the kernel itself comes first (CONFIG_IKCONFIG), then `config-VERSION`, `config`
    and `.config` beside it, `.config` of the source folder, and `/boot/config-VERSION`.

    Args:
        kernel: a bzImage.

    Raises:
        VmImageError: the file cannot be read, or is no bzImage.
    """
    embedded = _embedded_config(_read(kernel))
    if embedded is not None:
        return parse_config(embedded)
    name = f"config-{kernel_version(kernel)}"
    beside = kernel.absolute().parent
    places = [beside / name, beside / "config", beside / ".config"]
    if beside.name == "boot" and len(beside.parents) > 2:  # SOURCE/arch/x86/boot/bzImage
        places.append(beside.parents[2] / ".config")
    for place in (*places, _BOOT / name):
        with suppress(OSError):
            return parse_config(place.read_text(encoding="utf-8", errors="replace"))
    return None


def parse_config(text: str) -> dict[str, str]:
    """Return the options that a config sets, such as {"CONFIG_EXT4_FS": "m"}.

    Args:
        text: content of a kernel's `.config`.
    """
    lines = (line for line in text.splitlines() if line.startswith("CONFIG_"))
    return dict(line.strip().split("=", 1) for line in lines if "=" in line)


def missing_options(config: Mapping[str, str], has_modules: bool) -> dict[str, str]:
    """Return the options that a kernel lacks for a virtual machine, with the use of each.

    Args:
        config: options of the kernel.
        has_modules: whether the kernel's modules are in the image.
    """
    legal = {_BUILT_IN, "m"} if has_modules else {_BUILT_IN}
    needed = {**_ALWAYS_BUILT_IN, **(_INITRD if has_modules else {})}
    missing = {name: use for name, use in needed.items() if config.get(name) != _BUILT_IN}
    for name, use in _MAYBE_MODULES.items():
        if config.get(name) not in legal:
            missing[name] = use
    return dict(sorted(missing.items()))


def require_options(kernel: Path, has_modules: bool) -> None:
    """Refuse a kernel that cannot boot a virtual machine, if its config is known.

    Args:
        kernel: a bzImage.
        has_modules: whether the kernel's modules are in the image.

    Raises:
        VmImageError: the file cannot be read, or is no bzImage.
        VmKernelError: the kernel lacks options.
    """
    config = find_config(kernel)
    missing = missing_options(config, has_modules) if config else {}
    if missing:
        raise VmKernelError(str(kernel), missing)


def _read(kernel: Path) -> bytes:
    try:
        image = kernel.read_bytes()
    except OSError as error:
        raise VmImageError(f"kernel '{kernel}' cannot be read: {error.strerror}") from error
    if image[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] != _MAGIC:
        raise VmImageError(
            f"'{kernel}' is no Linux kernel for x86; give a bzImage, such as arch/x86/boot/bzImage"
            " of the kernel's sources, or a distribution's vmlinuz"
        )
    return image


def _embedded_config(image: bytes) -> str | None:
    (length,) = struct.unpack_from("<I", image, _PAYLOAD_AT + 4)
    (offset,) = struct.unpack_from("<I", image, _PAYLOAD_AT)
    begin = (image[_SECTORS_AT] + 1) * _SECTOR + offset
    for kernel in _decompressed(image[begin : begin + length]):
        packed = kernel.partition(_CONFIG_START)[2].partition(_CONFIG_END)[0]
        if packed:
            with suppress(OSError, EOFError, zlib.error):
                return gzip.decompress(packed).decode("utf-8", "replace")
    return None


def _decompressed(payload: bytes) -> Iterator[bytes]:
    # Data follows the end of the compressed stream, which decompressor objects permit.
    ways: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
        (b"\x1f\x8b", lambda data: zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data)),
        (b"\xfd7zXZ", lambda data: lzma.LZMADecompressor().decompress(data)),
        (b"\x5d\0\0", lambda data: lzma.LZMADecompressor().decompress(data)),
        (b"BZh", lambda data: bz2.BZ2Decompressor().decompress(data)),
        (b"\x28\xb5\x2f\xfd", lambda data: zstd.ZstdDecompressor().decompress(data)),
    )
    for magic, decompress in ways:
        if payload.startswith(magic):
            with suppress(OSError, EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError):
                yield decompress(payload)
