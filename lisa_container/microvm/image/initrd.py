"""Small initial RAM disk that loads the drivers of the disk and starts the guest's init.

Distributions' kernels have the drivers of virtual disks as modules. The archive holds these
modules, a static busybox and a script; a kernel unpacks it in a few milliseconds.
"""

from __future__ import annotations

import gzip
import lzma
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BOOT_MODULES = ("virtio_pci", "virtio_blk", "ext4", "virtio_net")
"""Modules that a boot needs. Those that a kernel has built in are absent from its folder."""

_INIT = Path(__file__).with_name("initrd.sh")
# Longest name first: `.ko` is no ending of its compressed form.
_ENDINGS = (".ko.xz", ".ko.gz", ".ko.zst", ".ko")
_FOLDERS = ("bin", "dev", "lib", "proc", "root")
_TRAILER = "TRAILER!!!"
_MAGIC = "070701"  # the "newc" format of cpio
_ALIGNMENT = 4


def make_initrd(read: Callable[[str], bytes], busybox: bytes) -> bytes:
    """Make the archive for one kernel.

    Args:
        read: function that returns the content of a file below `/lib/modules/VERSION`.
        busybox: static busybox.
    """
    paths = module_order(read("modules.dep").decode(), BOOT_MODULES)
    entries = [(name, stat.S_IFDIR | 0o755, b"") for name in _FOLDERS]
    entries.append(("bin/busybox", stat.S_IFREG | 0o755, busybox))
    entries.append(("init", stat.S_IFREG | 0o755, script()))
    for number, path in enumerate(paths):
        content = _decompress(path, read(path))
        entries.append((f"lib/{number:02}-{_stem(path)}.ko", stat.S_IFREG | 0o644, content))
    return b"".join(_archive(entries))


def script() -> bytes:
    """Return the archive's first program."""
    return _INIT.read_bytes()


def module_order(dependencies: str, wanted: Iterable[str]) -> list[str]:
    r"""Return the files of modules and of all that they need, in the order of loading.

    Args:
        dependencies: content of `modules.dep`.
        wanted: names of modules; those that the file does not list are built into the kernel.

    >>> module_order("a/virtio_blk.ko: a/virtio.ko\na/virtio.ko:", ["virtio_blk", "ext4"])
    ['a/virtio.ko', 'a/virtio_blk.ko']
    """
    needs: dict[str, list[str]] = {}
    for line in dependencies.splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {_stem(path): path for path in needs}
    order: list[str] = []

    def add(path: str) -> None:
        for needed in reversed(needs.get(path, ())):
            add(needed)
        if path not in order:
            order.append(path)

    for name in wanted:
        if name in by_name:
            add(by_name[name])
    return order


def _stem(path: str) -> str:
    name = path.rpartition("/")[2]
    ending = next((each for each in _ENDINGS if name.endswith(each)), "")
    # The kernel takes both characters for the same.
    return name[: len(name) - len(ending)].replace("-", "_")


def _decompress(path: str, content: bytes) -> bytes:
    if path.endswith(".xz"):
        return lzma.decompress(content)
    if path.endswith(".gz"):
        return gzip.decompress(content)
    if path.endswith(".zst"):
        return zstd.decompress(content)
    return content


def _archive(entries: Iterable[tuple[str, int, bytes]]) -> Iterator[bytes]:
    """Yield a cpio archive of the entries' names, modes and contents."""
    for number, (name, mode, content) in enumerate([*entries, (_TRAILER, 0, b"")], start=1):
        raw = name.encode() + b"\0"
        # Inode, mode, owner, group, links, time, size, four device numbers, length of the name,
        # checksum.
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(raw), 0)
        header = (_MAGIC + "".join(f"{field:08x}" for field in fields)).encode()
        yield _padded(header + raw)
        yield _padded(content)


def _padded(piece: bytes) -> bytes:
    return piece + bytes(-len(piece) % _ALIGNMENT)
