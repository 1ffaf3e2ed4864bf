"""Notes of an ELF core: the kernel's own description of its memory, which debuggers need.

The kernel keeps that description (VMCOREINFO) as a finished note in its memory. QEMU's dump has it
only if the VM has a device, and the kernel a driver, to tell QEMU where it is. A look at the memory
finds it in any kernel that has it (CONFIG_CRASH_CORE, in later ones CONFIG_VMCORE_INFO).
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lisa_container.errors import VmError

_MAGIC = b"\x7fELF\x02\x01"  # 64 bits, little-endian
# Fields of the header: offset, size and number of the program headers.
_TABLE_AT, _SIZE_AT, _COUNT_AT = 32, 54, 56
# Program header: type, flags, offset, virtual and physical address, size in file and memory, align.
_PROGRAM = struct.Struct("<IIQQQQQQ")
# Where its offset is, and its sizes.
_PLACE_AT, _SIZES_AT = 8, (32, 40)
_NUMBER = struct.Struct("<Q")
_LOAD, _NOTE = 1, 4
_PAGE = 4096
# Head of a note: length of its name, length of its content, type.
_HEAD = struct.Struct("<III")
_NAME = b"VMCOREINFO\0"
_PADDED_NAME = _NAME + b"\0"
_BEGIN = b"OSRELEASE="
_ALIGNMENT = 4


@dataclass(frozen=True)
class _Segment:
    at: int
    kind: int
    offset: int
    size: int


def add_vmcoreinfo(core: Path) -> str:
    """Put the kernel's VMCOREINFO among the notes of a core that lacks it.

    Args:
        core: ELF core of a whole guest, which is changed.

    Returns:
        The kernel's version in VMCOREINFO; empty if the memory has none.

    Raises:
        VmError: the file is no ELF core.
    """
    with core.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        segments = list(_segments(core, content))
        found = _find(content, segments)
        if not found:
            return ""
        (notes,) = (each for each in segments if each.kind == _NOTE)
        table = content[notes.offset : notes.offset + notes.size]
        if _PADDED_NAME not in table:
            # At the end of the file there is room.
            table += found
            _NUMBER.pack_into(content, notes.at + _PLACE_AT, file.seek(0, os.SEEK_END))
            for at in _SIZES_AT:
                _NUMBER.pack_into(content, notes.at + at, len(table))
            file.write(table)
    text = found[_HEAD.size + len(_PADDED_NAME) + len(_BEGIN) :]
    return text.partition(b"\n")[0].decode("ascii", "replace")


def _segments(core: Path, content: mmap.mmap) -> Iterator[_Segment]:
    if content[: len(_MAGIC)] != _MAGIC:
        raise VmError(f"QEMU's dump '{core}' is no ELF core")
    (table,) = struct.unpack_from("<Q", content, _TABLE_AT)
    size, count = struct.unpack_from("<HH", content, _SIZE_AT)
    for number in range(count):
        at = table + number * size
        kind, _, offset, _, _, length, _, _ = _PROGRAM.unpack_from(content, at)
        yield _Segment(at, kind, offset, length)


def _find(content: mmap.mmap, segments: list[_Segment]) -> bytes:
    """Return the note in the guest's memory, or nothing. The kernel begins a page with it."""
    mark = _PADDED_NAME + _BEGIN
    for segment in segments:
        if segment.kind != _LOAD:
            continue
        end = segment.offset + segment.size
        at = content.find(mark, segment.offset, end)
        while at >= 0:
            begin = at - _HEAD.size
            if begin >= segment.offset and (begin - segment.offset) % _PAGE == 0:
                name, size, _ = _HEAD.unpack_from(content, begin)
                if name == len(_NAME) and size < _PAGE:
                    return content[begin : at + len(_PADDED_NAME) + size + -size % _ALIGNMENT]
            at = content.find(mark, at + 1, end)
    return b""
